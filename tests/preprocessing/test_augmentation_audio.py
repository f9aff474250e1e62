"""Augmented sounds keep shape and range, are decided by the seed, and are the same where nothing was drawn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from genre_pipeline.preprocessing.augmentation_audio import (
    AudioAugmentationConfig,
    augment_windows,
    mask_spectra,
    mask_windows,
)

PROBABILITY = st.sampled_from([0.0, 0.5, 1.0])


def windows(count: int, length: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (count, length)).astype(np.float32)


@given(st.integers(0, 4), st.integers(1, 50), PROBABILITY, PROBABILITY, st.integers(0, 2**40))
@settings(max_examples=60, deadline=None)
def test_shape_range_and_seed(count: int, length: int, shift: float, noise: float, seed: int) -> None:
    config = AudioAugmentationConfig(shift=shift, shift_share=1.0, noise=noise, snr_db=(-20.0, 0.0))
    before = windows(count, length)
    kept = before.copy()
    after = augment_windows(before, config, seed=seed)
    assert (after.shape, after.dtype) == (before.shape, np.float32)
    assert np.array_equal(before, kept)
    assert np.abs(after).max(initial=0) <= 1
    assert np.array_equal(after, augment_windows(before, config, seed=seed))


@given(st.integers(0, 4), st.integers(1, 20), st.integers(1, 30), PROBABILITY, st.integers(0, 2**40))
@settings(max_examples=60, deadline=None)
def test_masks_leave_the_rest(count: int, bands: int, frames: int, masks: float, seed: int) -> None:
    config = AudioAugmentationConfig(masks=masks, mask_count=2, mask_share=0.25)
    before = np.random.default_rng(1).normal(size=(count, bands, frames)).astype(np.float32)
    after = mask_spectra(before, config, seed=seed)
    assert (after.shape, after.dtype) == (before.shape, np.float32)
    means = np.broadcast_to(before.mean(axis=(1, 2), keepdims=True), before.shape)
    assert ((after == before) | (after == means)).all()
    assert np.array_equal(after, mask_spectra(before, config, seed=seed))


def test_off_is_the_very_same() -> None:
    before, spectra = windows(2, 5), np.zeros((2, 3, 4), dtype=np.float32)
    assert augment_windows(before, AudioAugmentationConfig(), seed=1) is before
    assert mask_spectra(spectra, AudioAugmentationConfig(), seed=1) is spectra


@pytest.mark.parametrize("kind", ["shift", "noise"])
def test_windows_that_nothing_fell_on_stay_bit_by_bit(kind: str) -> None:
    before = windows(64, 100)
    after = augment_windows(before, AudioAugmentationConfig(**{kind: 0.5}), seed=5)
    same = (before == after).all(axis=1)
    assert 16 < same.sum() < 48


def test_a_shift_turns_the_window_by_no_more_than_its_share() -> None:
    before = np.zeros((200, 100), dtype=np.float32)
    before[:, 50] = 1
    after = augment_windows(before, AudioAugmentationConfig(shift=1.0, shift_share=0.2), seed=5)
    places = after.argmax(axis=1)
    assert (after.sum(axis=1) == 1).all()
    assert 30 <= places.min() < 35
    assert 65 < places.max() <= 70


def test_noise_has_the_configured_ratio_and_spares_silence() -> None:
    tone = 0.3 * np.sin(np.arange(16_000, dtype=np.float32) / 7)
    before = np.stack([tone, np.zeros_like(tone)])
    after = augment_windows(before, AudioAugmentationConfig(noise=1.0, snr_db=(20.0, 20.0)), seed=5)
    noise = after - before
    assert 10 * np.log10((tone**2).mean() / (noise[0] ** 2).mean()) == pytest.approx(20, abs=0.2)
    assert not noise[1].any()


def test_masks_are_runs_no_wider_than_their_share() -> None:
    spectra = np.random.default_rng(1).normal(size=(200, 20, 40)).astype(np.float32)
    after = mask_spectra(spectra, AudioAugmentationConfig(masks=1.0, mask_count=1, mask_share=0.25), seed=3)
    is_masked = after != spectra
    bands, frames = is_masked.all(axis=2).sum(axis=1), is_masked.all(axis=1).sum(axis=1)
    assert (set(bands), set(frames)) == (set(range(6)), set(range(11)))
    assert (np.abs(np.diff(is_masked.all(axis=2).astype(int), axis=1, prepend=0, append=0)).sum(axis=1) <= 2).all()


def test_a_ratio_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(ValidationError, match="least to greatest"):
        AudioAugmentationConfig(snr_db=(30.0, 10.0))


def test_masks_silence_bands_and_stretches_of_samples() -> None:
    before, config = windows(8, 8192), AudioAugmentationConfig(masks=0.5)
    masked = mask_windows(before, config, seed=1)
    is_changed = (masked != before).any(axis=1)
    assert 0 < is_changed.sum() < 8
    assert (masked.dtype, masked.shape) == (np.float32, before.shape)
    assert (np.square(masked[is_changed]).sum(axis=1) < np.square(before[is_changed]).sum(axis=1)).all()
    np.testing.assert_array_equal(masked, mask_windows(before, config, seed=1))
    np.testing.assert_array_equal(before, mask_windows(before, AudioAugmentationConfig(), seed=1))
