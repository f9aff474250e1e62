"""Pictures as an encoder reads them: one size, one scale, its mean and deviation.

Belongs here: what happens to every picture, in training and inference alike. Kept out: reading files (`sources.media`)
and random change (`augmentation_image`).
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from genre_pipeline.contracts.media import ImageInput, Picture


class ImageNormaliser:
    """Pictures to the arrays that an encoder's `ImageInput` declares."""

    def __init__(self, wanted: ImageInput) -> None:
        self._wanted = wanted
        self._mean = np.asarray(wanted.mean, dtype=np.float32).reshape(3, 1, 1)
        self._deviation = np.asarray(wanted.deviation, dtype=np.float32).reshape(3, 1, 1)

    def squares(self, pictures: Sequence[Picture]) -> np.ndarray:
        """float32 [pictures, 3, size, size] in 0 to 1: what augmentation works on, before `standardise`."""
        size = self._wanted.size
        pixels = np.empty((len(pictures), size, size, 3), dtype=np.uint8)
        for at, picture in enumerate(pictures):
            pixels[at] = self._square(picture.pixels)
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)

    def standardise(self, squares: np.ndarray) -> np.ndarray:
        """float32 [pictures, 3, size, size]: (value - mean) / deviation, by channel."""
        return np.asarray((squares - self._mean) / self._deviation, dtype=np.float32)

    def __call__(self, pictures: Sequence[Picture]) -> np.ndarray:
        """float32 [pictures, 3, size, size], ready for the encoder."""
        return self.standardise(self.squares(pictures))

    def _square(self, pixels: np.ndarray) -> np.ndarray:
        """The centre, resized in one step: only the pixels that are kept are looked at."""
        height, width = pixels.shape[:2]
        side = max(1.0, min(height, width) * self._wanted.crop_share)
        left, top = (width - side) / 2, (height - side) / 2
        size = (self._wanted.size, self._wanted.size)
        box = (left, top, left + side, top + side)
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC, box=box))
