"""Which technique reads pictures and which reads sounds: the choice, and the extractor that it names.

Belongs here: choosing. Kept out: what a technique does (a file of its own each) and where media come from.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import model_validator

from genre_pipeline.contracts.media import Modality
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.features.audio_hf import HfAudio, HfAudioConfig
from genre_pipeline.features.audio_logmel import LogMel, LogMelConfig
from genre_pipeline.features.audio_mfcc import Mfcc, MfccConfig
from genre_pipeline.features.audio_musicnn import MusicnnConfig, MusicnnFeatures
from genre_pipeline.features.image_cnn import ImageCnn, ImageCnnConfig
from genre_pipeline.features.image_descriptors import Descriptors, DescriptorsConfig
from genre_pipeline.features.image_hf import HfImage, HfImageConfig
from genre_pipeline.features.media_extractor import MediaExtractor


class ImageTechniqueConfig(Settings):
    """How pictures become vectors."""

    enabled: bool = True
    """Off leaves pictures out of everything: no table, nothing fused, nothing decoded."""
    technique: Literal["cnn", "hf", "descriptors"] = "cnn"
    """`cnn`: a convolutional network trained on ImageNet; `hf`: any image model of Hugging Face; `descriptors`: colour
    and texture, without weights."""
    cnn: ImageCnnConfig = ImageCnnConfig()
    """The convolutional network."""
    hf: HfImageConfig | None = None
    """The image model by name; needed where the technique is `hf`."""
    descriptors: DescriptorsConfig = DescriptorsConfig()
    """Colour and texture."""

    @model_validator(mode="after")
    def _model_is_named(self) -> Self:
        _require_source(self.technique, self.hf, "image")
        return self


class AudioTechniqueConfig(Settings):
    """How sounds become vectors."""

    enabled: bool = True
    """Off leaves sounds out of everything: no table, nothing fused, nothing decoded."""
    technique: Literal["mfcc", "logmel", "musicnn", "hf"] = "mfcc"
    """`mfcc` and `logmel` need no weights; `musicnn` hears what tags a music; `hf`: any audio model of Hugging Face."""
    mfcc: MfccConfig = MfccConfig()
    """Statistics of mel-frequency cepstral coefficients."""
    logmel: LogMelConfig = LogMelConfig()
    """Pooled log-mel spectra."""
    musicnn: MusicnnConfig = MusicnnConfig()
    """The network that tags music."""
    hf: HfAudioConfig | None = None
    """The audio model by name; needed where the technique is `hf`."""

    @model_validator(mode="after")
    def _model_is_named(self) -> Self:
        _require_source(self.technique, self.hf, "audio")
        return self


_BUILDERS: Mapping[type[Settings], Callable[[Any, Path, str], MediaExtractor[Any]]] = {
    ImageCnnConfig: lambda chosen, weights, device: ImageCnn(weights, chosen, device=device),
    HfImageConfig: lambda chosen, _weights, device: HfImage(chosen, device=device),
    DescriptorsConfig: lambda chosen, _weights, _device: Descriptors(chosen),
    MfccConfig: lambda chosen, _weights, _device: Mfcc(chosen),
    LogMelConfig: lambda chosen, _weights, _device: LogMel(chosen),
    MusicnnConfig: lambda chosen, weights, device: MusicnnFeatures(weights, chosen, device=device),
    HfAudioConfig: lambda chosen, _weights, device: HfAudio(chosen, device=device),
}


def media_extractor(
    config: ImageTechniqueConfig | AudioTechniqueConfig, *, weights: Path, device: str
) -> MediaExtractor[Any]:
    """The extractor that is configured. `weights` is the folder where converted weights are kept."""
    chosen = getattr(config, config.technique)
    return _BUILDERS[type(chosen)](chosen, weights, device)


def _require_source(technique: str, named: Settings | None, modality: Modality) -> None:
    if technique == "hf" and named is None:
        raise ValueError(
            f"{modality}.technique is 'hf', which needs {modality}.hf.source: a directory, `package:<installed "
            "package>` or a hub id"
        )
