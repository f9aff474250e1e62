import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from genre_pipeline.contracts.media import Sound
from genre_pipeline.features.waveform import at_rate, cut_windows
from tests.features.media_contract import tone


def test_a_tone_keeps_its_pitch_at_another_rate() -> None:
    samples = at_rate(tone(440, 1.0, rate=44_100), 16_000)
    assert samples.dtype == np.float32
    assert len(samples) == 16_000
    assert np.abs(np.fft.rfft(samples)).argmax() == 440


def test_what_the_new_rate_cannot_hold_is_filtered_out() -> None:
    samples = at_rate(tone(7_000, 1.0, rate=44_100), 8_000)
    assert np.abs(samples[100:-100]).max() < 0.01


def test_silence_is_empty_and_the_same_rate_changes_nothing() -> None:
    assert len(at_rate(Sound(np.zeros(100, dtype=np.float32), 8_000), 16_000)) == 0
    one = tone(100, 0.1)
    np.testing.assert_array_equal(at_rate(one, one.sample_rate), one.samples)


@given(st.integers(0, 200), st.integers(2, 40), st.integers(1, 9), st.integers(1, 5))
def test_windows_are_pieces_in_order(n: int, length: int, most: int, least: int) -> None:
    samples = np.arange(1, n + 1, dtype=np.float32)
    windows = cut_windows(samples, length, most, least)
    assert len(windows) <= most
    assert bool(windows) == (n > 0)
    for window in windows:
        kept = window[window > 0]
        assert len(kept) <= length
        np.testing.assert_array_equal(np.diff(kept), 1)
    assert [window[0] for window in windows] == sorted(window[0] for window in windows)
    if windows:
        assert windows[0][0] == 1
    if n <= length:
        assert sum((window > 0).sum() for window in windows) == n


def test_a_long_sound_is_heard_from_start_to_end() -> None:
    windows = cut_windows(np.arange(1, 101, dtype=np.float32), 10, 3)
    assert [int(window[0]) for window in windows] == [1, 41, 91]
    assert [len(window) for window in cut_windows(np.ones(27, dtype=np.float32), 10, 9)] == [10, 10, 7]
    assert [len(window) for window in cut_windows(np.ones(23, dtype=np.float32), 10, 9)] == [10, 10]
