"""Pooled log-mel spectra: how loud each band of a sound is, on average, at its peak and in its swing."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from genre_pipeline.contracts.media import Sound
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.features.media_extractor import AudioExtractor
from genre_pipeline.features.similarity import l2_normalise
from genre_pipeline.features.spectrum import FLOOR_DECIBELS, decibels, mel_power
from genre_pipeline.features.waveform import at_rate

_VERSION = 1
_STATISTICS = 3


class LogMelConfig(Settings):
    """How sounds are cut into frames and bands."""

    sample_rate: int = Field(default=16_000, ge=4_000, le=48_000)
    """Sounds are brought to this rate."""
    n_fft: int = Field(default=512, ge=64)
    """Samples of a frame: 32 ms."""
    hop: int = Field(default=256, ge=1)
    """Samples from one frame to the next: 16 ms."""
    bands: int = Field(default=96, ge=8)
    """Mel bands."""


class LogMel(AudioExtractor):
    """float32 [sounds, 3 * bands], rows of length 1: mean, maximum and deviation of each band over time."""

    name: ClassVar[str] = "audio_logmel"

    def __init__(self, config: LogMelConfig | None = None) -> None:
        self.config = config or LogMelConfig()

    @property
    def model(self) -> str:
        """Every setting moves a vector."""
        return f"{self.name}/{_VERSION}/{'-'.join(str(value) for value in self.config.model_dump().values())}"

    @property
    def width(self) -> int:
        """Statistics by bands."""
        return _STATISTICS * self.config.bands

    def encode_batch(self, media: Sequence[Sound]) -> np.ndarray:
        """Each sound by itself: lengths differ too much for padding to pay."""
        return l2_normalise(np.stack([self._pooled(sound) for sound in media]))

    def _pooled(self, sound: Sound) -> np.ndarray:
        config = self.config
        samples = at_rate(sound, config.sample_rate)
        if not len(samples):
            return np.zeros(self.width, dtype=np.float32)
        power = mel_power(samples, config.sample_rate, config.n_fft, config.hop, config.bands)
        above_floor = decibels(power) + FLOOR_DECIBELS  # [T, bands], 0 to 80
        parts = [above_floor.mean(0), above_floor.amax(0), above_floor.std(dim=0, correction=0)]
        return np.concatenate([part.numpy() for part in parts])
