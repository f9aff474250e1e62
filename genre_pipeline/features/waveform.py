"""Decoded sounds at the rate and in the windows that an encoder reads."""

import math

import numpy as np

from genre_pipeline.contracts.media import Sound


def at_rate(sound: Sound, sample_rate: int) -> np.ndarray:
    """float32 [samples] at `sample_rate`, band-limited by a polyphase filter; empty where the sound is silent."""
    from scipy.signal import resample_poly

    if not sound.samples.any():
        return np.zeros(0, dtype=np.float32)
    common = math.gcd(sound.sample_rate, sample_rate)
    up, down = sample_rate // common, sound.sample_rate // common
    samples = sound.samples if up == down else resample_poly(sound.samples, up, down)
    return np.ascontiguousarray(samples, dtype=np.float32)


def cut_windows(samples: np.ndarray, length: int, most: int, least: int = 1) -> list[np.ndarray]:
    """Consecutive windows of `length` samples, the last one shorter; at most `most`, spread evenly; none of nothing.

    A last window under half a `length` is left out unless it is the only one, which is padded with zeros to `least`.
    """
    if not len(samples):
        return []
    if len(samples) < length:
        return [np.pad(samples, (0, max(0, least - len(samples))))]
    count = max(1, (len(samples) + length // 2) // length)
    chosen = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
    return [samples[start * length : (start + 1) * length] for start in chosen]
