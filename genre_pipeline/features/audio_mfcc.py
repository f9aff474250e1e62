"""Statistics of mel-frequency cepstral coefficients: what a sound's timbre is like, without any weights.

Mean and deviation of the coefficients, and of their first and second deltas, over the whole sound (Davis and
Mermelstein 1980; Tzanetakis and Cook 2002 for the statistics). The coefficients are liftered, so that the first few do
not drown the others, and are taken of decibels below the loudest band: loudness as a whole does not show.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from genre_pipeline.contracts.media import Sound
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.features.media_extractor import AudioExtractor
from genre_pipeline.features.similarity import l2_normalise
from genre_pipeline.features.spectrum import cepstra, decibels, deltas, mel_power
from genre_pipeline.features.waveform import at_rate

if TYPE_CHECKING:
    from torch import Tensor

_VERSION = 1
_STATISTICS = 5
_LIFTER = 22


class MfccConfig(Settings):
    """How sounds are cut into frames, bands and coefficients."""

    sample_rate: int = Field(default=16_000, ge=4_000, le=48_000)
    """Sounds are brought to this rate."""
    n_fft: int = Field(default=512, ge=64)
    """Samples of a frame: 32 ms."""
    hop: int = Field(default=256, ge=1)
    """Samples from one frame to the next: 16 ms."""
    bands: int = Field(default=64, ge=8)
    """Mel bands."""
    coefficients: int = Field(default=20, ge=2)
    """Cepstral coefficients, of at most as many bands."""


class Mfcc(AudioExtractor):
    """float32 [sounds, 5 * coefficients], rows of length 1: mean, deviation, delta mean and both delta deviations."""

    name: ClassVar[str] = "audio_mfcc"

    def __init__(self, config: MfccConfig | None = None) -> None:
        self.config = config or MfccConfig()

    @property
    def model(self) -> str:
        """Every setting moves a vector."""
        return f"{self.name}/{_VERSION}/{'-'.join(str(value) for value in self.config.model_dump().values())}"

    @property
    def width(self) -> int:
        """Statistics by coefficients."""
        return _STATISTICS * self.config.coefficients

    def encode_batch(self, media: Sequence[Sound]) -> np.ndarray:
        """Each sound by itself: lengths differ too much for padding to pay."""
        return l2_normalise(np.stack([self._statistics(sound) for sound in media]))

    def _statistics(self, sound: Sound) -> np.ndarray:
        samples = at_rate(sound, self.config.sample_rate)
        if not len(samples):
            return np.zeros(self.width, dtype=np.float32)
        frames = self._coefficients(samples)  # [T, coefficients]
        first, second = deltas(frames), deltas(deltas(frames))
        spreads = [part.std(dim=0, correction=0) for part in (frames, first, second)]
        parts = [frames.mean(0), spreads[0], first.mean(0), spreads[1], spreads[2]]
        return np.concatenate([part.numpy() for part in parts])

    def _coefficients(self, samples: np.ndarray) -> "Tensor":
        import torch

        config = self.config
        bands = decibels(mel_power(samples, config.sample_rate, config.n_fft, config.hop, config.bands))  # [T, bands]
        order = torch.arange(config.coefficients)
        lifter = 1 + _LIFTER / 2 * torch.sin(torch.pi * (order % _LIFTER) / _LIFTER)
        return cepstra(bands, config.coefficients) * lifter  # [T, coefficients]
