"""Sounds changed at random, for training: the same sound a little later, in a noisy room, with parts of it missing.

Belongs here: random change of windows and log-mel spectra, all of it off by default and decided by a seed. Kept out:
what is done to every sound (`audio`). The masks are those of SpecAugment (Park et al. 2019, arXiv 1904.08779).
"""

import numpy as np
from pydantic import Field, model_validator

from genre_pipeline.contracts.settings import Settings

_FRAME = 512


class AudioAugmentationConfig(Settings):
    """Random change of sounds in training. Every probability is 0 unless set.

    A `gated` fusion learns from sounds changed so, beside those as they are; the encoders come trained.
    """

    shift: float = Field(default=0.0, ge=0, le=1)
    """Probability that a window is shifted in time; what leaves at one end comes in at the other."""
    shift_share: float = Field(default=0.2, gt=0, le=1)
    """The largest shift, as a share of the window."""
    noise: float = Field(default=0.0, ge=0, le=1)
    """Probability that white noise is added to a window."""
    snr_db: tuple[float, float] = (10.0, 30.0)
    """Least and greatest ratio of the window's power to the noise's, in dB."""
    masks: float = Field(default=0.0, ge=0, le=1)
    """Probability that bands and stretches of a log-mel spectrum are masked."""
    mask_count: int = Field(default=2, ge=1, le=10)
    """Bands, and as many stretches of time."""
    mask_share: float = Field(default=0.15, gt=0, le=0.5)
    """The widest mask, as a share of the bands or the frames."""

    @model_validator(mode="after")
    def _snr_is_a_range(self) -> "AudioAugmentationConfig":
        if not self.snr_db[0] <= self.snr_db[1]:
            raise ValueError(f"snr_db {self.snr_db} is not from least to greatest")
        return self


def augment_windows(windows: np.ndarray, config: AudioAugmentationConfig, *, seed: int) -> np.ndarray:
    """float32 [windows, samples] in -1 to 1 to the same; windows that no change fell on stay bit by bit."""
    shift_rng, noise_rng = (np.random.default_rng([seed, kind]) for kind in range(2))
    windows = _shifted(windows, config, shift_rng) if config.shift else windows
    return _noisy(windows, config, noise_rng) if config.noise else windows


def mask_spectra(spectra: np.ndarray, config: AudioAugmentationConfig, *, seed: int) -> np.ndarray:
    """float32 [windows, bands, frames] to the same: what is masked becomes the spectrum's own mean."""
    if not config.masks:
        return spectra
    rng = np.random.default_rng([seed, 2])
    chosen = rng.random(len(spectra)) < config.masks
    bands = _masked(len(spectra), spectra.shape[1], config, rng)[:, :, None]
    frames = _masked(len(spectra), spectra.shape[2], config, rng)[:, None, :]
    means = spectra.mean(axis=(1, 2), keepdims=True)
    return np.where(chosen[:, None, None] & (bands | frames), means, spectra)


def mask_windows(windows: np.ndarray, config: AudioAugmentationConfig, *, seed: int) -> np.ndarray:
    """float32 [windows, samples] to the same, for encoders that take samples: what is masked becomes silence.

    The masks lie on the short-time Fourier transform; windows that none fell on stay bit by bit.
    """
    from scipy.signal import istft, stft

    length = windows.shape[1]
    if not config.masks or length < _FRAME:
        return windows
    rng = np.random.default_rng([seed, 2])
    at = np.flatnonzero(rng.random(len(windows)) < config.masks)
    _, _, spectra = stft(windows[at], nperseg=_FRAME)
    bands = _masked(len(at), spectra.shape[1], config, rng)[:, :, None]
    frames = _masked(len(at), spectra.shape[2], config, rng)[:, None, :]
    result = windows.copy()
    if len(at):
        result[at] = np.clip(istft(np.where(bands | frames, 0, spectra), nperseg=_FRAME)[1][:, :length], -1, 1)
    return result


def _shifted(windows: np.ndarray, config: AudioAugmentationConfig, rng: np.random.Generator) -> np.ndarray:
    count, length = windows.shape
    chosen = rng.random(count) < config.shift
    steps = np.round(rng.uniform(-1, 1, count) * config.shift_share * length).astype(np.int64)
    at = np.flatnonzero(chosen)
    result = windows.copy()
    places = (np.arange(length) - steps[at, None]) % max(1, length)
    result[at] = np.take_along_axis(windows[at], places, axis=1)
    return result


def _noisy(windows: np.ndarray, config: AudioAugmentationConfig, rng: np.random.Generator) -> np.ndarray:
    """Noise in proportion to the window's own power, so none where it is silent; peaks are clipped to -1 to 1."""
    chosen = rng.random(len(windows)) < config.noise
    ratio = rng.uniform(*config.snr_db, len(windows))
    power = np.square(windows, dtype=np.float64).mean(axis=1)
    scale = np.sqrt(power * 10 ** (-ratio / 10)).astype(np.float32)
    at = np.flatnonzero(chosen)
    noise = rng.standard_normal((len(at), windows.shape[1]), dtype=np.float32)
    result = windows.copy()
    result[at] = np.clip(windows[at] + noise * scale[at, None], -1, 1)
    return result


def _masked(count: int, length: int, config: AudioAugmentationConfig, rng: np.random.Generator) -> np.ndarray:
    """bool [count, length]: within one of `mask_count` runs, each of random width and place."""
    shape = (count, config.mask_count, 1)
    width = np.floor(rng.random(shape) * (config.mask_share * length + 1))
    start = np.floor(rng.random(shape) * (length - width + 1))
    place = np.arange(length)
    return np.asarray(((place >= start) & (place < start + width)).any(axis=1))
