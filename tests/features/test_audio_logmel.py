import numpy as np
import pytest

from genre_pipeline.features.audio_logmel import LogMel, LogMelConfig
from genre_pipeline.features.spectrum import decibels, mel_power
from tests.features.media_contract import AudioContract, tone


class TestLogMelContract(AudioContract):
    @pytest.fixture
    def extractor(self) -> LogMel:
        return LogMel()


def test_a_band_has_its_mean_its_peak_and_its_swing() -> None:
    one = tone(500, 0.6, rate=16_000)
    bands = decibels(mel_power(one.samples, 16_000, 512, 256, 96)).numpy() + 80
    expected = np.concatenate([bands.mean(0), bands.max(0), bands.std(0)])
    np.testing.assert_allclose(LogMel().encode([one])[0], expected / np.linalg.norm(expected), atol=1e-5)


def test_a_higher_tone_is_loud_in_a_higher_band() -> None:
    means = LogMel().encode([tone(200, 0.5), tone(1000, 0.5), tone(3000, 0.5)])[:, :96]
    assert list(means.argmax(axis=1)) == sorted(set(means.argmax(axis=1)))
    assert LogMel(LogMelConfig(bands=32)).model != LogMel().model
