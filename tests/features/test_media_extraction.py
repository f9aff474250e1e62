from pathlib import Path

import pytest
from pydantic import ValidationError

from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.features.audio_hf import HfAudioConfig
from genre_pipeline.features.image_cnn import ImageCnnConfig
from genre_pipeline.features.image_hf import HfImageConfig
from genre_pipeline.features.media_extraction import (
    AudioTechniqueConfig,
    ImageTechniqueConfig,
    media_extractor,
)


@pytest.mark.parametrize("technique", ["cnn", "hf", "descriptors"])
def test_the_configured_technique_reads_pictures(technique: str, tmp_path: Path) -> None:
    config = ImageTechniqueConfig(technique=technique, hf=HfImageConfig(source="/somewhere"))  # type: ignore[arg-type]
    found = media_extractor(config, weights=tmp_path, device="cpu")
    assert (found.name, found.modality) == (f"image_{technique}", "image")


@pytest.mark.parametrize("technique", ["mfcc", "logmel", "musicnn", "hf"])
def test_the_configured_technique_reads_sounds(technique: str, tmp_path: Path) -> None:
    config = AudioTechniqueConfig(technique=technique, hf=HfAudioConfig(source="/somewhere"))  # type: ignore[arg-type]
    found = media_extractor(config, weights=tmp_path, device="cpu")
    assert (found.name, found.modality) == (f"audio_{technique}", "audio")


def test_a_model_by_name_needs_a_name() -> None:
    with pytest.raises(ValidationError, match=r"image\.hf\.source"):
        ImageTechniqueConfig(technique="hf")
    with pytest.raises(ValidationError, match=r"audio\.hf\.source"):
        AudioTechniqueConfig(technique="hf")


def test_missing_weights_are_an_error_that_names_three_ways(tmp_path: Path) -> None:
    config = ImageTechniqueConfig(cnn=ImageCnnConfig(source=str(tmp_path / "nothing")))
    with pytest.raises(ModelFileError) as refused:
        _ = media_extractor(config, weights=tmp_path, device="cpu").model
    for way in ("package", "directory", "hub"):
        assert way in refused.value.remedy
