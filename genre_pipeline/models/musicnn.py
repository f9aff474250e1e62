"""musicnn: a network that tags music, trained on MagnaTagATune, one file, read bottom-up.

After Pons and Serra 2019 (arXiv 1909.06654): wide filters across frequency hear timbre, tall ones across time hear
rhythm, residual layers over time join them. Shapes: B windows, T frames of 16 ms (187 in 3 seconds), 96 mel bands.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from genre_pipeline.models.converted_weights import check_sha256, converted
from genre_pipeline.models.model_files import ModelFamily, missing_model, package_roots, unreadable
from genre_pipeline.models.tf_checkpoint import index_of, read_checkpoint

PACKAGE = "package:musicnn"
PACKAGE_SHA256 = "041f3935e981a65cea739842d30c188d3a7d2adf4410955c8668eb3de4a5acab"
INDEX_SHA256 = "da2d7bb670b2b31e9bc441bb1bd75eca31b5b061f963cc1f9630c1aff3238f57"
SAMPLE_RATE, N_FFT, HOP, BANDS, FRAMES = 16_000, 512, 256, 96, 187
WIDTH, TAGS = 200, 50
_TIMBRE, _RHYTHM, _MIDDLE = (204, (38, 67)), (51, (128, 64, 32)), 64
_FRONT = 2 * _TIMBRE[0] + 3 * _RHYTHM[0]
FAMILY = ModelFamily(
    name="musicnn",
    noun="musicnn",
    companions=(),
    hub_files=(),
    three_ways=(
        "`pip install --no-deps musicnn==0.1.0` for `audio_musicnn`; or name another audio model for `audio_hf`, as a"
        " directory with config.json and model.safetensors or a hub id; or use `audio_mfcc`, which needs no weights."
    ),
)


class Filters(nn.Module):
    """A convolution, ReLU, and normalisation after it."""

    def __init__(self, channels: int, out: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, out, kernel)
        self.norm = nn.BatchNorm2d(out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, T, F] -> [B, out, T - kernel + 1, F - kernel + 1]."""
        normed: Tensor = self.norm(functional.relu(self.convolution(x)))
        return normed


class Musicnn(nn.Module):
    """Log-mel windows to 200 features and 50 tags."""

    def __init__(self) -> None:
        super().__init__()
        self.input_norm = nn.BatchNorm2d(1, eps=1e-3)
        self.timbre = nn.ModuleList([Filters(1, _TIMBRE[0], (7, bands)) for bands in _TIMBRE[1]])
        self.rhythm = nn.ModuleList([Filters(1, _RHYTHM[0], (frames, 1)) for frames in _RHYTHM[1]])
        self.middle = nn.ModuleList([Filters(1, _MIDDLE, (7, width)) for width in (_FRONT, _MIDDLE, _MIDDLE)])
        pooled = 2 * (_FRONT + 3 * _MIDDLE)
        self.pooled_norm = nn.BatchNorm1d(pooled, eps=1e-3)
        self.dense = nn.Linear(pooled, WIDTH)
        self.dense_norm = nn.BatchNorm1d(WIDTH, eps=1e-3)
        self.tags = nn.Linear(WIDTH, TAGS)

    def features(self, spectra: Tensor) -> Tensor:
        """log10(10000 * mel power + 1) [B, T, 96] -> [B, 200]."""
        x = self.input_norm(spectra.unsqueeze(1))  # [B, 1, T, 96]
        padded = functional.pad(x, (0, 0, 3, 3))
        heard = [filters(padded).amax(3) for filters in self.timbre]  # each [B, 204, T]
        for filters, frames in zip(self.rhythm, _RHYTHM[1], strict=True):
            heard.append(filters(functional.pad(x, (0, 0, (frames - 1) // 2, frames // 2))).amax(3))  # [B, 51, T]
        front = torch.cat(heard, 1).transpose(1, 2).unsqueeze(1)  # [B, 1, T, 561]
        layers, joined = [front], None
        for filters in self.middle:
            layer = filters(functional.pad(layers[-1], (0, 0, 3, 3))).permute(0, 3, 2, 1)  # [B, 1, T, 64]
            joined = layer if joined is None else layer + joined
            layers.append(joined)
        over_time = torch.cat(layers, 3).squeeze(1)  # [B, T, 753]
        pooled = torch.stack([over_time.amax(1), over_time.mean(1)], 2).flatten(1)  # [B, 1506]
        features: Tensor = self.dense_norm(functional.relu(self.dense(self.pooled_norm(pooled))))
        return features

    def forward(self, spectra: Tensor) -> Tensor:
        """[B, T, 96] -> logits of the tags [B, 50]."""
        logits: Tensor = self.tags(self.features(spectra))
        return logits


def locate_musicnn(cache: Path) -> tuple[Path, str]:
    """(safetensors file, identity) of the installed package's weights, converted once into `cache`.

    Raises:
        ModelFileError: the package is missing, or its weights are not the pinned ones.
    """
    path = converted(_checkpoint, PACKAGE_SHA256, cache, _read_checkpoint)
    return path, f"{FAMILY.name}-{PACKAGE_SHA256[:16]}"


def load_musicnn(path: Path) -> Musicnn:
    """The network with the weights of a safetensors file, in evaluation mode. Raises `ModelFileError`."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    network = Musicnn()
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise unreadable(str(path), error) from error
    return network.eval()


def named_tensors(checkpoint: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """The checkpoint's variables under this network's names. TensorFlow numbers layers in order of making."""
    layers = [
        *(f"timbre.{i}" for i in range(2)),
        *(f"rhythm.{i}" for i in range(3)),
        *(f"middle.{i}" for i in range(3)),
    ]
    norms = ["input_norm", *(f"{layer}.norm" for layer in layers), "pooled_norm", "dense_norm"]
    tensors = {}
    for number, layer in enumerate(layers):
        source = _numbered("conv2d", number)
        tensors[f"{layer}.convolution.weight"] = checkpoint[f"{source}/kernel"].transpose(3, 2, 0, 1)
        tensors[f"{layer}.convolution.bias"] = checkpoint[f"{source}/bias"]
    for number, norm in enumerate(norms):
        source = _numbered("batch_normalization", number)
        for ours, theirs in _NORM.items():
            tensors[f"{norm}.{ours}"] = checkpoint[f"{source}/{theirs}"]
        tensors[f"{norm}.num_batches_tracked"] = np.zeros((), dtype=np.int64)
    for number, dense in enumerate(("dense", "tags")):
        source = _numbered("dense", number)
        tensors[f"{dense}.weight"] = checkpoint[f"{source}/kernel"].T
        tensors[f"{dense}.bias"] = checkpoint[f"{source}/bias"]
    return {name: torch.tensor(np.ascontiguousarray(tensor).reshape(tensor.shape)) for name, tensor in tensors.items()}


_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def _numbered(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name


def _read_checkpoint(data: Path) -> dict[str, Tensor]:
    check_sha256(index_of(data), INDEX_SHA256)
    return named_tensors(read_checkpoint(data))


def _checkpoint() -> Path:
    found = [
        path
        for root in package_roots(PACKAGE, FAMILY)
        for path in sorted(root.glob("MTT_musicnn/*.data-00000-of-00001"))
    ]
    if not found:
        raise missing_model("The package musicnn carries no checkpoint MTT_musicnn", FAMILY)
    return found[0]
