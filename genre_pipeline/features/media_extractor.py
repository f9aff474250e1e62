"""The one contract of every technique that turns decoded pictures or sounds into vectors.

A technique is a subclass in a file of its own. It gets media as `sources` decoded them, of any size or length, and
does its model's last step itself: size, scale, sampling rate, spectrum. What was encoded before is `media_cache`'s.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Generic

import numpy as np

from genre_pipeline.contracts.media import Decoded, Modality, Picture, Sound
from genre_pipeline.features.extractor import Report


class MediaExtractor(ABC, Generic[Decoded]):
    """Media in, vectors out. Equal media under an equal `model` give equal vectors, up to rounding, in any company."""

    name: ClassVar[str]
    """The technique, which is also the key under which its vectors are known."""
    modality: ClassVar[Modality]

    @property
    @abstractmethod
    def model(self) -> str:
        """The identity of what decides a vector: weights, settings, precision. Part of a cache key."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Numbers in a vector."""

    @abstractmethod
    def encode_batch(self, media: Sequence[Decoded]) -> np.ndarray:
        """float32 [len(media), width] of a batch, at least one: its memory is the technique's to know."""

    @property
    def batch_size(self) -> int:
        """Media that `encode_batch` is given at once."""
        return 32

    def encode(self, media: Sequence[Decoded], report: Report | None = None) -> np.ndarray:
        """float32 [len(media), width], finite for finite weights; all zero where a medium holds nothing to say."""
        vectors = np.zeros((len(media), self.width), dtype=np.float32)
        for start in range(0, len(media), self.batch_size):
            batch = media[start : start + self.batch_size]
            vectors[start : start + len(batch)] = self.encode_batch(batch)
            if report is not None:
                report(start + len(batch), len(media))
        return vectors


class ImageExtractor(MediaExtractor[Picture]):
    """A technique for pictures."""

    modality: ClassVar[Modality] = "image"


class AudioExtractor(MediaExtractor[Sound]):
    """A technique for sounds. One that is silent throughout says nothing."""

    modality: ClassVar[Modality] = "audio"
