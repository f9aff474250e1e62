"""Decoded pictures of any size to the batch of pixels that an encoder declares with `ImageInput`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from genre_pipeline.contracts.media import ImageInput, Picture

if TYPE_CHECKING:
    from torch import Tensor


def to_pixels(pictures: Sequence[Picture], wanted: ImageInput) -> "Tensor":
    """float32 [n, 3, size, size], channels last in memory: the central square, resized, less mean, by deviation."""
    import torch

    resized = resize(pictures, wanted.size, wanted.crop_share).permute(0, 2, 3, 1)  # uint8 [n, size, size, 3]
    # A whole row of pixels at once: a mean that changes with every number keeps a processor from its wide registers.
    mean, deviation = (torch.tensor(of).mul(255).repeat(wanted.size) for of in (wanted.mean, wanted.deviation))
    rows = resized.reshape(len(pictures), wanted.size, -1).float().sub_(mean).div_(deviation)
    return rows.reshape(resized.shape).permute(0, 3, 1, 2)


def resize(pictures: Sequence[Picture], size: int, crop_share: float) -> "Tensor":
    """uint8 [n, 3, size, size], channels last in memory: the central `crop_share` of the shorter side.

    Bicubic and antialiased. Cropping comes first: nothing is resized to be thrown away.
    """
    import torch
    from torch.nn import functional

    batch = torch.empty((len(pictures), 3, size, size), dtype=torch.uint8, memory_format=torch.channels_last)
    for position, picture in enumerate(pictures):
        square = torch.from_numpy(_square(picture.pixels, crop_share)).permute(2, 0, 1)[None]  # [1, 3, side, side]
        batch[position] = functional.interpolate(square, size=(size, size), mode="bicubic", antialias=True)[0]
    return batch


def _square(pixels: np.ndarray, share: float) -> np.ndarray:
    height, width, _channels = pixels.shape
    side = max(1, round(min(height, width) * share))
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side].copy()
