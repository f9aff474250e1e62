"""Sounds as an encoder reads them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genre_pipeline.contracts.media import AudioInput, Sound
from genre_pipeline.preprocessing.audio import AudioConfig, AudioNormaliser, level, resample, trim_silence

RATE = 16_000
WANTED = AudioInput(sample_rate=RATE, window_seconds=0.5, hop_seconds=0.5, max_windows=4)


def tone(seconds: float, *, rate: int = RATE, hertz: float = 440.0, peak: float = 0.5) -> np.ndarray:
    return (peak * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def db(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.square(samples, dtype=np.float64).mean()))


@given(st.lists(st.integers(1, 30_000), max_size=4), st.sampled_from([1_000, 8_000, 11_025, 44_100, 191_999]))
@settings(max_examples=40, deadline=None)
def test_any_length_and_rate_become_windows(lengths: list[int], rate: int) -> None:
    rng = np.random.default_rng(0)
    sounds = [Sound(rng.uniform(-1, 1, length).astype(np.float32), rate) for length in lengths]
    made = AudioNormaliser(WANTED)(sounds)
    assert made.samples.shape == (len(made.sounds), 8_000)
    assert (made.samples.dtype, made.sounds.dtype, made.n_sounds) == (np.float32, np.int64, len(lengths))
    assert np.abs(made.samples).max(initial=0) <= 1
    assert np.isfinite(made.samples).all()
    counts = np.bincount(made.sounds, minlength=len(lengths))
    assert (np.diff(made.sounds) >= 0).all()
    assert ((counts >= 1) & (counts <= 4)).all()


def test_windows_cover_the_sound_and_pad_its_end() -> None:
    made = AudioNormaliser(WANTED)(
        [Sound(tone(0.25), RATE), Sound(np.zeros(9, np.float32), RATE), Sound(tone(1.2), RATE)]
    )
    assert (made.sounds.tolist(), made.n_sounds) == ([0, 2, 2, 2], 3)
    assert not made.samples[0, 4_000:].any()
    assert made.samples[0, :4_000].any()
    assert made.samples[1:3, 7_900:].any(axis=1).all()
    assert not made.samples[3, 3_200:].any()


def test_too_many_windows_are_spread_over_the_whole_sound() -> None:
    samples = np.linspace(0.1, 1, 10 * RATE, dtype=np.float32)
    made = AudioNormaliser(WANTED)([Sound(samples, RATE)])
    first = made.samples[:, 0] / made.samples[-1, -1]
    assert len(made.samples) == 4
    assert first == pytest.approx(np.interp([0, 1 / 3, 2 / 3, 1], [0, 1], [0.1, 0.955]), abs=0.02)


def test_gaps_between_windows_make_no_empty_window() -> None:
    wanted = AudioInput(sample_rate=RATE, window_seconds=0.1, hop_seconds=1.0, max_windows=4)
    made = AudioNormaliser(wanted)([Sound(tone(0.2), RATE)])
    assert made.samples.shape == (1, 1_600)


@pytest.mark.parametrize("samples", [np.zeros(RATE, np.float32), np.full(RATE, 5e-5, np.float32)])
def test_silence_has_no_window(samples: np.ndarray) -> None:
    made = AudioNormaliser(WANTED)([Sound(samples, RATE)])
    assert (made.samples.shape, made.n_sounds) == ((0, 8_000), 1)


def test_no_sound_at_all() -> None:
    made = AudioNormaliser(WANTED)([])
    assert (made.samples.shape, made.sounds.shape, made.n_sounds) == ((0, 8_000), (0,), 0)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 11_025, 15_999, 96_001])
def test_a_tone_keeps_its_pitch_at_any_rate(rate: int) -> None:
    samples = resample(tone(1.0, rate=rate, hertz=1_000), rate, RATE)
    spectrum = np.abs(np.fft.rfft(samples[:RATE]))
    assert len(samples) == pytest.approx(RATE, rel=0.002)
    assert spectrum.argmax() * RATE / len(samples[:RATE]) == pytest.approx(1_000, rel=0.003)


def test_what_the_new_rate_cannot_hold_is_kept_out() -> None:
    assert db(resample(tone(1.0, rate=48_000, hertz=12_000), 48_000, RATE)[500:-500]) < -50


@pytest.mark.parametrize("peak", [0.001, 0.05, 1.0])
def test_loudness_is_one_whatever_it_was(peak: float) -> None:
    assert db(level(tone(1.0, peak=peak), RATE, -23.0)) == pytest.approx(-23, abs=0.1)


def test_pauses_do_not_make_a_sound_louder() -> None:
    paused = np.concatenate([tone(0.5), np.zeros(RATE, np.float32), tone(0.5)])
    assert db(level(paused, RATE, -23.0)[: RATE // 2]) == pytest.approx(-23, abs=0.2)


def test_a_peak_limits_the_level() -> None:
    click = np.full(RATE, 0.01, dtype=np.float32)
    click[100] = 1.0
    assert np.abs(level(click, RATE, -6.0)).max() == pytest.approx(1.0)


def test_silence_is_cut_off_the_ends_and_kept_inside() -> None:
    quiet = np.full(RATE // 2, 1e-4, dtype=np.float32)
    samples = np.concatenate([quiet, tone(0.3), quiet, tone(0.3), quiet])
    left = trim_silence(samples, RATE, 40.0)
    assert len(left) == pytest.approx(int(1.1 * RATE), abs=2 * 320)
    assert np.array_equal(trim_silence(left, RATE, 40.0), left)


def test_settings_change_what_they_say() -> None:
    quiet = tone(0.5, peak=0.01)
    sound = Sound(np.concatenate([quiet, tone(0.5)]), RATE)
    lengths = [len(AudioNormaliser(WANTED, AudioConfig(trim_db=value)).normalise(sound)) for value in (20.0, 60.0)]
    levels = [db(AudioNormaliser(WANTED, AudioConfig(loudness_db=value)).normalise(sound)) for value in (-30, -20)]
    assert lengths == [RATE // 2, RATE]
    assert levels[1] - levels[0] == pytest.approx(10, abs=0.1)
