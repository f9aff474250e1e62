"""Media contracts: decoded pictures and sounds, what an encoder wants of them, and why a file was set aside.

`sources.media` reads files into batches of these; `preprocessing.image` and `preprocessing.audio` turn a batch into
the arrays that an encoder declares with `ImageInput` or `AudioInput`; `features` encodes those arrays. An item whose
file was rejected stays in the catalogue: that modality is masked.
"""

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import dataframely as dy
import numpy as np
import polars as pl
from pydantic import Field

from genre_pipeline.contracts.settings import Settings

Modality = Literal["image", "audio"]


class RejectedMedia(dy.Schema):
    """A file that could not be read. `rule` is the reason's name, `detail` says it in a sentence."""

    item_id = dy.String(nullable=False)
    modality = dy.String(nullable=False)
    location = dy.String(nullable=False)
    rule = dy.String(nullable=False, min_length=1)
    detail = dy.String(nullable=False)

    @dy.rule()
    def modality_is_known(cls) -> pl.Expr:
        """Pictures and sounds are the media there are."""
        return pl.col("modality").is_in(["image", "audio"])


@dataclass(frozen=True)
class Picture:
    """One decoded picture: the first frame, upright (EXIF applied), transparent parts white."""

    pixels: np.ndarray
    """uint8 [height, width, 3], RGB; the longest side has at most `MediaConfig.picture_side` pixels."""


@dataclass(frozen=True)
class Sound:
    """One decoded sound, its channels averaged."""

    samples: np.ndarray
    """float32 [samples], finite, in -1 to 1, at least one sample."""
    sample_rate: int
    """Samples a second."""


Decoded = TypeVar("Decoded", Picture, Sound)


@dataclass(frozen=True)
class MediaBatch(Generic[Decoded]):
    """Consecutive items of one modality, in the order they were asked for.

    Every item is in exactly one of three places: decoded, known or rejected. `item_ids`, `decoded` and
    `content_hashes` run parallel, and so do `known_item_ids` and `known_hashes`.
    """

    item_ids: tuple[str, ...]
    decoded: tuple[Decoded, ...]
    content_hashes: tuple[str, ...]
    """SHA-256 of each file's bytes, in hex: equal files have equal hashes, wherever they lie."""
    known_item_ids: tuple[str, ...]
    """Items whose file the caller knows by its hash: not decoded."""
    known_hashes: tuple[str, ...]
    rejected: dy.DataFrame[RejectedMedia]


class ImageInput(Settings):
    """What a picture encoder reads: declared by the encoder, made by `preprocessing.image.ImageNormaliser`.

    The arrays are float32 [pictures, 3, size, size], channels R, G, B, (value / 255 - mean) / deviation.
    """

    size: int = Field(default=224, ge=8, le=1024)
    """Side of the square, in pixels."""
    crop_share: float = Field(default=0.875, gt=0, le=1)
    """The central share of the shorter side that is kept: 0.875 crops 224 of 256, 1 keeps all of it."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Mean of each channel on the encoder's training data, of values in 0 to 1. ImageNet's unless given."""
    deviation: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Standard deviation of each channel. ImageNet's unless given."""


class AudioInput(Settings):
    """What a sound encoder reads: declared by the encoder, made by `preprocessing.audio.AudioNormaliser`."""

    sample_rate: int = Field(default=16_000, ge=4_000, le=48_000)
    """Samples a second."""
    window_seconds: float = Field(default=3.0, gt=0, le=60)
    """Length of a window; a sound's last window is padded with zeros."""
    hop_seconds: float = Field(default=3.0, gt=0, le=60)
    """From one window's start to the next."""
    max_windows: int = Field(default=10, ge=1)
    """Windows of one sound, spread evenly over it where it has more."""


@dataclass(frozen=True)
class SoundWindows:
    """The windows of a batch of sounds, stacked: an encoder pools those of one sound."""

    samples: np.ndarray
    """float32 [windows, window length in samples], in -1 to 1."""
    sounds: np.ndarray
    """int64 [windows], ascending: the position of each window's sound in the batch."""
    n_sounds: int
    """Sounds in the batch. One that is silent throughout has no window: its modality is masked."""
