import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from genre_pipeline.contracts.errors import ConfigError, ModelFileError
from genre_pipeline.contracts.media import ImageInput
from genre_pipeline.features.image_hf import HfImage, HfImageConfig
from genre_pipeline.features.pixels import to_pixels
from genre_pipeline.models.media_encoders import tiny_vision
from tests.features.media_contract import ImageContract, picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vision(tmp_path_factory.mktemp("vision"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP: a model of two towers."""
    from transformers import CLIPConfig, CLIPModel

    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**tower, "vocab_size": 8},
        vision_config={**tower, "image_size": 16, "patch_size": 8},
        projection_dim=12,
    )
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    settings = {"size": {"shortest_edge": 18}, "crop_size": 16, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny ResNet: a model whose states are a map."""
    from transformers import ResNetConfig, ResNetModel

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 24], depths=[1, 1], layer_type="basic")
    folder = tmp_path_factory.mktemp("resnet")
    torch.manual_seed(0)
    ResNetModel(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": 32, "crop_pct": 0.5}))
    return folder


class TestHfImageContract(ImageContract):
    @pytest.fixture
    def extractor(self, folder: Path) -> HfImage:
        return HfImage(HfImageConfig(source=str(folder), batch_size=2))


def test_the_mean_is_that_of_the_models_own_states(folder: Path) -> None:
    from transformers import AutoModel

    wanted = ImageInput(size=32, crop_share=1, mean=(0.5, 0.5, 0.5), deviation=(0.5, 0.5, 0.5))
    with torch.no_grad():
        states = AutoModel.from_pretrained(folder).eval()(to_pixels([picture(50, 40, 0)], wanted)).last_hidden_state[0]
    for pooling, expected in (("mean", states.mean(0)), ("first", states[0])):
        vector = HfImage(HfImageConfig(source=str(folder), pooling=pooling)).encode([picture(50, 40, 0)])[0]  # type: ignore[arg-type]
        np.testing.assert_allclose(vector, (expected / expected.norm()).numpy(), atol=1e-5)


def test_clips_picture_tower_and_its_projection(clip: Path) -> None:
    widths = {
        pooling: HfImage(HfImageConfig(source=str(clip), pooling=pooling)).encode([picture(30, 30, 0)]).shape[1]  # type: ignore[arg-type]
        for pooling in ("mean", "projected")
    }
    assert widths == {"mean": 16, "projected": 12}


def test_a_convolutional_model_is_averaged_over_its_map_and_has_no_first(resnet: Path) -> None:
    assert HfImage(HfImageConfig(source=str(resnet))).encode([picture(30, 30, 0)]).shape == (1, 24)
    for pooling in ("first", "projected"):
        with pytest.raises(ConfigError, match="pooling"):
            HfImage(HfImageConfig(source=str(resnet), pooling=pooling)).encode([picture(30, 30, 0)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"size": 32, "crop_pct": 0.5}, ImageInput(size=32, crop_share=0.5)),
        ({"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}, ImageInput()),
        (
            {"size": {"height": 64, "width": 64}, "do_center_crop": False, "crop_size": 8},
            ImageInput(size=64, crop_share=1),
        ),
        (
            {"size": 16, "do_normalize": False},
            ImageInput(size=16, crop_share=1, mean=(0, 0, 0), deviation=(1, 1, 1)),
        ),
    ],
)
def test_what_a_model_reads_is_taken_from_its_settings(
    folder: Path, tmp_path: Path, settings: dict[str, object], expected: ImageInput
) -> None:
    from genre_pipeline.models.media_encoders import VISION, image_input
    from genre_pipeline.models.model_files import locate_model

    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "preprocessor_config.json").write_text(json.dumps(settings))
    assert image_input(locate_model(str(copy), VISION)) == expected


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (None, "has no preprocessor_config"),
        ("[]", "cannot be read"),
        ("{", "cannot be read"),
        ('{"size": {"height": 8, "width": 16}}', "size"),
        ('{"size": 32, "rescale_factor": 1}', "rescale_factor"),
        ('{"size": 32, "auto_map": {}}', "auto_map"),
    ],
)
def test_settings_that_cannot_be_met_are_named(folder: Path, tmp_path: Path, settings: str | None, named: str) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "preprocessor_config.json").unlink()
    if settings is not None:
        (copy / "preprocessor_config.json").write_text(settings)
    with pytest.raises(ModelFileError, match=named):
        _ = HfImage(HfImageConfig(source=str(copy))).model


def test_the_identity_covers_what_is_read(folder: Path) -> None:
    own, other = HfImageConfig(source=str(folder)), HfImageConfig(source=str(folder), input=ImageInput(size=32))
    assert HfImage(own).model != HfImage(other).model


@pytest.mark.parametrize("source", ["./nowhere", "package:no-such-model", "nobody/nothing"])
def test_a_missing_model_names_the_three_ways(source: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        _ = HfImage(HfImageConfig(source=source), offline=True).model
    assert all(way in str(caught.value) for way in (source, "directory", "pip install", "hub id"))
