import numpy as np
import pytest
from scipy.fft import dct

from genre_pipeline.contracts.media import Sound
from genre_pipeline.features.audio_mfcc import Mfcc, MfccConfig
from genre_pipeline.features.similarity import cosine
from genre_pipeline.features.spectrum import decibels, mel_power
from tests.features.media_contract import AudioContract, tone


class TestMfccContract(AudioContract):
    @pytest.fixture
    def extractor(self) -> Mfcc:
        return Mfcc()


def test_statistics_are_the_direct_computation() -> None:
    """The spectrum is held by its own tests; from there on, numpy and scipy."""
    one = tone(300, 0.7, rate=16_000)
    bands = decibels(mel_power(one.samples, 16_000, 512, 256, 64)).numpy().astype(np.float64)
    lifter = 1 + 11 * np.sin(np.pi * np.arange(20) / 22)
    frames = dct(bands, type=2, norm="ortho", axis=1)[:, :20] * lifter

    def slope(values: np.ndarray) -> np.ndarray:
        padded = np.pad(values, ((2, 2), (0, 0)), mode="edge")
        weights = np.array([-2, -1, 0, 1, 2]) / 10
        return np.stack([weights @ padded[t : t + 5] for t in range(len(values))])

    first, second = slope(frames), slope(slope(frames))
    expected = np.concatenate([frames.mean(0), frames.std(0), first.mean(0), first.std(0), second.std(0)])
    np.testing.assert_allclose(Mfcc().encode([one])[0], expected / np.linalg.norm(expected), atol=1e-4)


def test_loudness_says_nothing_and_timbre_does() -> None:
    noise = (np.random.default_rng(0).standard_normal(8_000) / 5).astype(np.float32)
    sounds = [tone(440, 1.0), Sound(tone(440, 1.0).samples * np.float32(0.1), 8_000), Sound(noise, 8_000)]
    similarity = cosine(*[Mfcc().encode(sounds)] * 2)
    assert similarity[0, 1] > 0.999
    assert similarity[0, 2] < 0.95


def test_the_identity_tells_settings_apart() -> None:
    assert Mfcc(MfccConfig(hop=128)).model != Mfcc().model
