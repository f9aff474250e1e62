"""Spectra of sounds: power, mel bands, decibels, cepstra. Shapes: T frames, F frequencies, M mel bands.

Mel bands are Slaney's: linear to 1 kHz, logarithmic above, each triangle of area 1 (Auditory Toolbox 1998).
"""

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

_LINEAR_STEP, _BREAK_HZ, _BREAK_MEL = 200 / 3, 1000.0, 15.0
_LOG_STEP = np.log(6.4) / 27
FLOOR_DECIBELS = 80.0
"""What is quieter than a sound's loudest band by so much is as good as silent."""


def power(samples: np.ndarray, n_fft: int, hop: int) -> "Tensor":
    """float32 [T, n_fft / 2 + 1], T = samples / hop + 1: Hann windows centred on each hop, zeros beyond the ends."""
    import torch

    window = torch.hann_window(n_fft)
    spectrum = torch.stft(
        torch.tensor(samples), n_fft, hop, window=window, center=True, pad_mode="constant", return_complex=True
    )
    return spectrum.abs().square().T


@cache
def mel_filters(sample_rate: int, n_fft: int, bands: int) -> np.ndarray:
    """float32 [M, n_fft / 2 + 1]: the weight of each frequency in each band, from 0 Hz to half the sample rate."""
    edges = _to_hertz(np.linspace(0, _to_mel(sample_rate / 2), bands + 2))  # [M + 2]
    frequencies = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)  # [F]
    away = edges[:, None] - frequencies[None]  # [M + 2, F]
    rising = -away[:-2] / np.diff(edges)[:-1, None]
    falling = away[2:] / np.diff(edges)[1:, None]
    triangles = np.maximum(0, np.minimum(rising, falling))
    weights = (triangles * (2 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)
    weights.flags.writeable = False
    return np.asarray(weights)


def mel_power(samples: np.ndarray, sample_rate: int, n_fft: int, hop: int, bands: int) -> "Tensor":
    """float32 [T, M]."""
    import torch

    return power(samples, n_fft, hop) @ torch.tensor(mel_filters(sample_rate, n_fft, bands)).T


def decibels(values: "Tensor") -> "Tensor":
    """Power to decibels below the loudest value, from -80 to 0: how loud a sound is as a whole does not show."""
    loudest = values.max().clamp_min(1e-20)
    return (10 * (values / loudest).clamp_min(10 ** (-FLOOR_DECIBELS / 10)).log10()).clamp_max(0)


@cache
def cosine_transform(bands: int, coefficients: int) -> np.ndarray:
    """float32 [coefficients, M]: the orthonormal DCT-II, its first rows."""
    angles = np.pi / bands * np.outer(np.arange(coefficients), np.arange(bands) + 0.5)
    rows = np.cos(angles) * np.sqrt(2 / bands)
    rows[0] /= np.sqrt(2)
    transform = rows.astype(np.float32)
    transform.flags.writeable = False
    return np.asarray(transform)


def cepstra(mel_decibels: "Tensor", coefficients: int) -> "Tensor":
    """Mel-frequency cepstral coefficients (Davis and Mermelstein 1980): float32 [T, M] -> [T, coefficients]."""
    import torch

    return mel_decibels @ torch.tensor(cosine_transform(mel_decibels.shape[1], coefficients)).T


def deltas(frames: "Tensor", reach: int = 2) -> "Tensor":
    """The slope of a line through each frame and `reach` neighbours on both sides, ends repeated: [T, n] -> [T, n]."""
    import torch

    padded = torch.cat([frames[:1].expand(reach, -1), frames, frames[-1:].expand(reach, -1)])
    n_frames = len(frames)
    slope = torch.zeros_like(frames)
    for step in range(1, reach + 1):
        slope += step * (padded[reach + step :][:n_frames] - padded[reach - step :][:n_frames])
    return slope / (2 * sum(step * step for step in range(1, reach + 1)))


def _to_mel(hertz: float) -> float:
    return _BREAK_MEL + np.log(hertz / _BREAK_HZ) / _LOG_STEP if hertz >= _BREAK_HZ else hertz / _LINEAR_STEP


def _to_hertz(mels: np.ndarray) -> np.ndarray:
    return np.where(mels >= _BREAK_MEL, _BREAK_HZ * np.exp(_LOG_STEP * (mels - _BREAK_MEL)), mels * _LINEAR_STEP)
