"""Colour and texture descriptors: what a picture looks like without any weights, the floor of every image encoder.

Three parts, each a row of length 1, weighted equally: a joint histogram of hue, saturation and value (Swain and Ballard
1991); histograms of oriented gradients in a grid (Dalal and Triggs 2005); and the mean colour of each grid cell, which
says where a colour lies. Histograms are compared by their square roots, which makes a cosine Bhattacharyya's
coefficient.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from genre_pipeline.contracts.media import Picture
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.features.media_extractor import ImageExtractor
from genre_pipeline.features.pixels import resize

if TYPE_CHECKING:
    from torch import Tensor

_VERSION = 1


class DescriptorsConfig(Settings):
    """How finely colour and texture are counted."""

    size: int = Field(default=96, ge=16, le=512)
    """Pixels of a side that pictures are brought to."""
    hues: int = Field(default=12, ge=2)
    """Steps of hue."""
    saturations: int = Field(default=4, ge=1)
    """Steps of saturation."""
    values: int = Field(default=4, ge=1)
    """Steps of brightness."""
    orientations: int = Field(default=9, ge=2)
    """Directions of an edge, of half a turn."""
    cells: int = Field(default=6, ge=1, le=16)
    """Cells of a side of the grid."""


class Descriptors(ImageExtractor):
    """float32 [pictures, width], rows of length 1."""

    name: ClassVar[str] = "image_descriptors"

    def __init__(self, config: DescriptorsConfig | None = None) -> None:
        self.config = config or DescriptorsConfig()

    @property
    def model(self) -> str:
        """Every setting moves a vector."""
        settings = "-".join(str(value) for value in self.config.model_dump().values())
        return f"{self.name}/{_VERSION}/{settings}"

    @property
    def width(self) -> int:
        """Colours, edges and cells."""
        config = self.config
        colours = config.hues * config.saturations * config.values
        return colours + config.cells**2 * (config.orientations + 3)

    def encode_batch(self, media: Sequence[Picture]) -> np.ndarray:
        """The three parts side by side."""
        import torch

        config = self.config
        pixels = resize(media, config.size, 1.0).float() / 255  # [n, 3, size, size]
        parts = [
            _colours(pixels, (config.hues, config.saturations, config.values)),
            _edges(pixels, config.orientations, config.cells),
            _layout(pixels, config.cells),
        ]
        rows = torch.cat([torch.nn.functional.normalize(part, dim=1) for part in parts], dim=1)
        return np.asarray(torch.nn.functional.normalize(rows, dim=1).numpy(), dtype=np.float32)


def hue_saturation_value(pixels: "Tensor") -> "Tensor":
    """RGB float32 [n, 3, H, W] in 0 to 1 to HSV of the same shape, each in 0 to 1; a grey has hue and saturation 0."""
    import torch

    red, green, blue = pixels.unbind(1)
    value, _ = pixels.max(dim=1)
    chroma = value - pixels.min(dim=1).values
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    sector = torch.where(
        value == red,
        ((green - blue) / safe) % 6,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    hue = torch.where(chroma > 0, sector / 6, torch.zeros_like(sector))
    saturation = torch.where(value > 0, chroma / value.clamp_min(1e-12), torch.zeros_like(value))
    return torch.stack([hue, saturation, value], dim=1)


def _colours(pixels: "Tensor", bins: tuple[int, int, int]) -> "Tensor":
    """Joint histogram, its square root: [n, hues * saturations * values]."""
    import torch

    hsv = hue_saturation_value(pixels)
    counts = torch.tensor(bins).reshape(1, 3, 1, 1)
    steps = torch.minimum((hsv * counts).long(), counts - 1)  # [n, 3, H, W]
    cell = (steps[:, 0] * bins[1] + steps[:, 1]) * bins[2] + steps[:, 2]  # [n, H, W]
    histogram = torch.zeros((len(pixels), bins[0] * bins[1] * bins[2]))
    ones = torch.ones((len(pixels), cell[0].numel()))
    return histogram.scatter_add_(1, cell.flatten(1), ones).div_(ones.shape[1]).sqrt_()


def _edges(pixels: "Tensor", orientations: int, cells: int) -> "Tensor":
    """Gradient strength by direction and cell, its square root: [n, orientations * cells²]."""
    import torch
    from torch.nn import functional

    grey = (pixels * torch.tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)).sum(1, keepdim=True)
    padded = functional.pad(grey, (1, 1, 1, 1), mode="replicate")
    across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]  # [n, 1, H, W]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    strength = torch.hypot(across, down)
    turn = torch.atan2(down, across) / torch.pi % 1 * orientations  # half a turn is the same edge
    lower = turn.floor()
    share = turn - lower
    planes = torch.zeros((len(pixels), orientations, *grey.shape[2:]))
    planes.scatter_add_(1, lower.long() % orientations, strength * (1 - share))
    planes.scatter_add_(1, (lower.long() + 1) % orientations, strength * share)
    return functional.adaptive_avg_pool2d(planes, cells).flatten(1).sqrt_()


def _layout(pixels: "Tensor", cells: int) -> "Tensor":
    """Mean colour of each cell, less mid grey: [n, 3 * cells²]."""
    from torch.nn import functional

    return functional.adaptive_avg_pool2d(pixels, cells).flatten(1) - 0.5
