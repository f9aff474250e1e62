"""Sounds as an encoder reads them: its sample rate, one loudness, silence cut off the ends, windows of one length.

Belongs here: what happens to every sound, in training and inference alike. Kept out: reading files (`sources.media`),
spectra (`features`) and random change (`augmentation_audio`).
"""

from collections.abc import Sequence
from math import gcd

import numpy as np
from pydantic import Field

from genre_pipeline.contracts.media import AudioInput, Sound, SoundWindows
from genre_pipeline.contracts.settings import Settings

_FRAME_SECONDS = 0.02
_SILENT_PEAK = 1e-4
"""Below -80 dBFS throughout, nobody would hear anything: the sound is missing, not quiet."""
_GATE_DB = 30.0
_LARGEST_FACTOR = 512


class AudioConfig(Settings):
    """What is done to every sound before an encoder hears it."""

    loudness_db: float = Field(default=-23.0, ge=-60, le=-6)
    """Level that sounds are brought to, in dBFS: the root mean square of what is not far below the loudest part."""
    trim_db: float = Field(default=40.0, gt=0, le=96)
    """Ends quieter than this many dB below the loudest 20 ms are cut off."""


class AudioNormaliser:
    """Sounds to the windows that an encoder's `AudioInput` declares."""

    def __init__(self, wanted: AudioInput, config: AudioConfig | None = None) -> None:
        self._wanted = wanted
        self._config = config or AudioConfig()

    def __call__(self, sounds: Sequence[Sound]) -> SoundWindows:
        """The windows of all sounds, in their order; a sound that is silent throughout has none."""
        windows = [self._windows(self.normalise(sound)) for sound in sounds]
        length = self._samples(self._wanted.window_seconds)
        stacked = np.concatenate([np.empty((0, length), dtype=np.float32), *windows])
        positions = np.repeat(np.arange(len(sounds)), [len(one) for one in windows])
        return SoundWindows(stacked, positions.astype(np.int64), len(sounds))

    def normalise(self, sound: Sound) -> np.ndarray:
        """float32 [samples] at the encoder's rate, trimmed and levelled, in -1 to 1; empty where it is silent."""
        samples = sound.samples
        if not len(samples) or float(np.abs(samples).max()) < _SILENT_PEAK:
            return np.empty(0, dtype=np.float32)
        trimmed = trim_silence(samples, sound.sample_rate, self._config.trim_db)
        resampled = resample(trimmed, sound.sample_rate, self._wanted.sample_rate)
        return level(resampled, self._wanted.sample_rate, self._config.loudness_db)

    def _windows(self, samples: np.ndarray) -> np.ndarray:
        """float32 [windows, length]: padded with zeros at the end, spread evenly where there are too many."""
        length, hop = self._samples(self._wanted.window_seconds), self._samples(self._wanted.hop_seconds)
        if not len(samples):
            return np.empty((0, length), dtype=np.float32)
        count = 1 + max(0, -(-(len(samples) - length) // hop))
        starts = np.arange(count) * hop
        starts = starts[starts < len(samples)]
        if len(starts) > self._wanted.max_windows:
            starts = np.linspace(0, len(samples) - length, self._wanted.max_windows).round().astype(np.int64)
        padded = np.pad(samples, (0, max(0, int(starts[-1]) + length - len(samples))))
        return np.lib.stride_tricks.sliding_window_view(padded, length)[starts]

    def _samples(self, seconds: float) -> int:
        return max(1, round(seconds * self._wanted.sample_rate))


def resample(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """float32 [round up(samples * wanted / rate)]: a polyphase filter, which keeps what is above the new band out."""
    from scipy import signal

    if rate == wanted:
        return samples
    up, down = wanted // gcd(wanted, rate), rate // gcd(wanted, rate)
    if max(up, down) > _LARGEST_FACTOR:
        # An odd rate would need a filter of a hundred thousand taps; the nearest simple ratio is off by under 0.2 %.
        up, down = _simple_ratio(wanted / rate)
    return np.asarray(signal.resample_poly(samples, up, down), dtype=np.float32)


def trim_silence(samples: np.ndarray, rate: int, below_db: float) -> np.ndarray:
    """Cut both ends, in steps of 20 ms, while they are `below_db` quieter than the loudest step."""
    power, size = _frame_power(samples, rate)
    loud = np.flatnonzero(power >= power.max() * 10 ** (-below_db / 10))
    return samples[loud[0] * size : (loud[-1] + 1) * size]


def level(samples: np.ndarray, rate: int, loudness_db: float) -> np.ndarray:
    """Scale until the gated root mean square is `loudness_db` dBFS, or less where a peak would leave -1 to 1.

    Gated as in ITU-R BS.1770, without its filter: steps far below the mean of the louder ones are pauses, and not
    counted. A sound without power stays as it is.
    """
    power, _ = _frame_power(samples, rate)
    gate = power.max() * 10 ** (-_GATE_DB / 10)
    loudness = float(np.sqrt(power[power >= gate].mean()))
    peak = float(np.abs(samples).max())
    if loudness <= 0 or peak <= 0:
        return samples
    return np.asarray(samples * np.float32(min(10 ** (loudness_db / 20) / loudness, 1 / peak)), dtype=np.float32)


def _frame_power(samples: np.ndarray, rate: int) -> tuple[np.ndarray, int]:
    """float64 [frames], mean square of each 20 ms, and the frame's length in samples; the last may be shorter."""
    size = max(1, round(rate * _FRAME_SECONDS))
    starts = np.arange(0, len(samples), size)
    squares = np.add.reduceat(np.square(samples, dtype=np.float64), starts)
    return squares / np.minimum(size, len(samples) - starts), size


def _simple_ratio(ratio: float) -> tuple[int, int]:
    denominators = np.arange(1, _LARGEST_FACTOR + 1)
    numerators = np.maximum(1, np.round(denominators * ratio)).astype(np.int64)
    allowed = numerators <= max(_LARGEST_FACTOR, int(ratio) + 1)
    error = np.where(allowed, np.abs(numerators / denominators - ratio), np.inf)
    best = int(error.argmin())
    return int(numerators[best]), int(denominators[best])
