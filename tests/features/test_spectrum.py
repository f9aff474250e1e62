import numpy as np
import pytest
import torch
from scipy.fft import dct

from genre_pipeline.features.spectrum import cepstra, decibels, deltas, mel_filters, mel_power, power

RATE, N_FFT, HOP = 8_000, 128, 64


def samples(n: int = 1000) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(n) / 4).astype(np.float32)


def direct_power(signal: np.ndarray) -> np.ndarray:
    """The Fourier sum written out, frame by frame."""
    padded = np.pad(signal.astype(np.float64), N_FFT // 2)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
    waves = np.exp(-2j * np.pi * np.outer(np.arange(N_FFT // 2 + 1), np.arange(N_FFT)) / N_FFT)
    starts = range(0, len(signal) + 1, HOP)
    frames = np.stack([padded[start : start + N_FFT] * window for start in starts if start + N_FFT <= len(padded)])
    return np.abs(frames @ waves.T) ** 2


def direct_filters(bands: int) -> np.ndarray:
    """Slaney's triangles, one weight at a time."""

    def to_mel(hertz: float) -> float:
        return 15 + 27 * np.log(hertz / 1000) / np.log(6.4) if hertz >= 1000 else 3 * hertz / 200

    def to_hertz(mel: float) -> float:
        return 1000 * 6.4 ** ((mel - 15) / 27) if mel >= 15 else 200 * mel / 3

    edges = [to_hertz(mel) for mel in np.linspace(0, to_mel(RATE / 2), bands + 2)]
    weights = np.zeros((bands, N_FFT // 2 + 1))
    for band, (low, middle, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        for line in range(N_FFT // 2 + 1):
            hertz = line * RATE / N_FFT
            if low < hertz < high:
                height = (hertz - low) / (middle - low) if hertz <= middle else (high - hertz) / (high - middle)
                weights[band, line] = height * 2 / (high - low)
    return weights


def test_power_is_the_fourier_sum_written_out() -> None:
    np.testing.assert_allclose(power(samples(), N_FFT, HOP).numpy(), direct_power(samples()), rtol=1e-3, atol=1e-4)


def test_filters_are_slaneys_triangles() -> None:
    np.testing.assert_allclose(mel_filters(RATE, N_FFT, 16), direct_filters(16), atol=1e-7)


def test_cepstra_are_the_direct_computation() -> None:
    mel = direct_power(samples()) @ direct_filters(16).T
    loudness = np.maximum(10 * np.log10(mel / mel.max()), -80)
    expected = dct(loudness, type=2, norm="ortho", axis=1)[:, :9]
    ours = cepstra(decibels(mel_power(samples(), RATE, N_FFT, HOP, 16)), 9)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("gain", [1e-3, 0.5, 3])
def test_loudness_as_a_whole_does_not_show(gain: float) -> None:
    loud = decibels(mel_power(samples() * np.float32(gain), RATE, N_FFT, HOP, 16))
    torch.testing.assert_close(loud, decibels(mel_power(samples(), RATE, N_FFT, HOP, 16)), atol=1e-3, rtol=0)


def test_deltas_are_slopes() -> None:
    ramp = torch.arange(10.0).unsqueeze(1) * torch.tensor([[1.0, -2.0]])
    assert deltas(ramp)[3].tolist() == [1.0, -2.0]
    expected = [
        sum(step * (ramp[min(t + step, 9), 0] - ramp[max(t - step, 0), 0]) for step in (1, 2)) / 10 for t in range(10)
    ]
    torch.testing.assert_close(deltas(ramp)[:, 0], torch.tensor(expected))
    assert deltas(ramp[:1]).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("n", [1, 63, 64, 127, 128, 129])
def test_short_sounds_have_frames(n: int) -> None:
    assert len(power(samples(n), N_FFT, HOP)) == n // HOP + 1
