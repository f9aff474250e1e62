"""Pictures changed at random, for training: the same thing seen closer, mirrored, in other light.

Belongs here: random change of pictures, all of it off by default and decided by a seed. Kept out: what is done to
every picture (`image`). The random crop is that of Szegedy et al. 2014 (arXiv 1409.4842) with square boxes.
"""

import numpy as np
from pydantic import Field

from genre_pipeline.contracts.settings import Settings

_LUMA = np.asarray([0.299, 0.587, 0.114], dtype=np.float32).reshape(1, 3, 1, 1)


class ImageAugmentationConfig(Settings):
    """Random change of pictures in training. Every probability is 0 unless set.

    A `gated` fusion learns from pictures changed so, beside those as they are; the encoders come trained.
    """

    crop: float = Field(default=0.0, ge=0, le=1)
    """Probability that a picture is cropped to a random square and resized back."""
    crop_area: float = Field(default=0.5, gt=0, le=1)
    """The smallest share of the area that a crop keeps."""
    flip: float = Field(default=0.0, ge=0, le=1)
    """Probability that a picture is mirrored left to right; wrong where pictures carry writing."""
    jitter: float = Field(default=0.0, ge=0, le=1)
    """Probability that brightness, contrast and saturation are changed."""
    jitter_strength: float = Field(default=0.2, gt=0, le=1)
    """Each of the three is multiplied by a factor between 1 less and 1 plus this."""


def augment_squares(squares: np.ndarray, config: ImageAugmentationConfig, *, seed: int) -> np.ndarray:
    """float32 [pictures, 3, size, size] in 0 to 1 to the same: pictures that no change fell on stay bit by bit.

    The draws of one kind of change do not depend on whether another is on.
    """
    crop_rng, flip_rng, jitter_rng = (np.random.default_rng([seed, kind]) for kind in range(3))
    squares = _cropped(squares, config, crop_rng) if config.crop else squares
    squares = _flipped(squares, config, flip_rng) if config.flip else squares
    return _jittered(squares, config, jitter_rng) if config.jitter else squares


def _cropped(squares: np.ndarray, config: ImageAugmentationConfig, rng: np.random.Generator) -> np.ndarray:
    """A random square of each chosen picture, resized back by bilinear interpolation."""
    size = squares.shape[-1]
    chosen, share, corner = rng.random(len(squares)), rng.random(len(squares)), rng.random((2, len(squares)))
    side = size * np.sqrt(config.crop_area + (1 - config.crop_area) * share)
    at = np.flatnonzero(chosen < config.crop)
    centres = (np.arange(size) + 0.5) / size
    rows, columns = ((corner[axis] * (size - side))[at, None] + centres * side[at, None] - 0.5 for axis in range(2))
    result = squares.copy()
    result[at] = _interpolated(_interpolated(squares[at], rows, axis=2), columns, axis=3)
    return result


def _interpolated(squares: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
    """Values at `places` [pictures, size] along one axis, between neighbours in proportion."""
    last = squares.shape[axis] - 1
    low = np.clip(np.floor(places), 0, last).astype(np.int64)
    part = np.clip(places - low, 0, 1).astype(np.float32)
    length = low.shape[1]
    shape = (len(squares), 1, length, 1) if axis == 2 else (len(squares), 1, 1, length)
    below = np.take_along_axis(squares, low.reshape(shape), axis=axis)
    above = np.take_along_axis(squares, np.minimum(low + 1, last).reshape(shape), axis=axis)
    return np.asarray(below + (above - below) * part.reshape(shape))


def _flipped(squares: np.ndarray, config: ImageAugmentationConfig, rng: np.random.Generator) -> np.ndarray:
    chosen = rng.random(len(squares)) < config.flip
    return np.where(chosen[:, None, None, None], squares[..., ::-1], squares)


def _jittered(squares: np.ndarray, config: ImageAugmentationConfig, rng: np.random.Generator) -> np.ndarray:
    """Brightness, then contrast about the mean grey, then saturation about each pixel's grey."""
    chosen = rng.random(len(squares)) < config.jitter
    factors = 1 + config.jitter_strength * rng.uniform(-1, 1, (3, len(squares), 1, 1, 1)).astype(np.float32)
    brightness, contrast, saturation = factors
    result = np.clip(squares * brightness, 0, 1)
    grey = _grey(result).mean(axis=(2, 3), keepdims=True)
    result = np.clip(grey + (result - grey) * contrast, 0, 1)
    grey = _grey(result)
    result = np.clip(grey + (result - grey) * saturation, 0, 1)
    return np.where(chosen[:, None, None, None], result, squares).astype(np.float32, copy=False)


def _grey(squares: np.ndarray) -> np.ndarray:
    return np.asarray((squares * _LUMA).sum(axis=1, keepdims=True))
