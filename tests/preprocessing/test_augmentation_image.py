"""Augmented pictures keep shape and range, are decided by the seed, and are the same where nothing was drawn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genre_pipeline.preprocessing.augmentation_image import ImageAugmentationConfig, augment_squares

PROBABILITY = st.sampled_from([0.0, 0.5, 1.0])


def squares(count: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 3, size, size), dtype=np.float32)


@given(st.integers(0, 4), st.integers(1, 9), PROBABILITY, PROBABILITY, PROBABILITY, st.integers(0, 2**40))
@settings(max_examples=60, deadline=None)
def test_shape_range_and_seed(count: int, size: int, crop: float, flip: float, jitter: float, seed: int) -> None:
    config = ImageAugmentationConfig(crop=crop, crop_area=0.1, flip=flip, jitter=jitter, jitter_strength=1.0)
    before = squares(count, size)
    kept = before.copy()
    after = augment_squares(before, config, seed=seed)
    assert (after.shape, after.dtype) == (before.shape, np.float32)
    assert np.array_equal(before, kept)
    assert np.isfinite(after).all()
    assert count == 0 or (after.min() >= 0 and after.max() <= 1)
    assert np.array_equal(after, augment_squares(before, config, seed=seed))


def test_off_is_the_very_same() -> None:
    before = squares(3, 8)
    assert augment_squares(before, ImageAugmentationConfig(), seed=1) is before


@pytest.mark.parametrize("kind", ["crop", "flip", "jitter"])
def test_pictures_that_nothing_fell_on_stay_bit_by_bit(kind: str) -> None:
    before = squares(64, 8)
    after = augment_squares(before, ImageAugmentationConfig(**{kind: 0.5}), seed=5)
    same = (before == after).all(axis=(1, 2, 3))
    assert 16 < same.sum() < 48


def test_a_flip_mirrors() -> None:
    before = squares(4, 8)
    assert np.array_equal(augment_squares(before, ImageAugmentationConfig(flip=1.0), seed=1), before[..., ::-1])


def test_a_crop_of_everything_is_everything() -> None:
    before = squares(4, 8)
    after = augment_squares(before, ImageAugmentationConfig(crop=1.0, crop_area=1.0), seed=1)
    assert np.allclose(after, before, atol=1e-6)


def test_a_crop_of_a_ramp_is_a_flatter_ramp_inside_it() -> None:
    """Interpolation is exact on a plane: both slopes shrink by the same factor, which is the crop's side."""
    ramp = np.linspace(0.2, 0.8, 32, dtype=np.float32)
    before = np.broadcast_to(ramp, (40, 3, 32, 32)).copy()
    before[:, 1] = ramp[:, None]
    after = augment_squares(before, ImageAugmentationConfig(crop=1.0, crop_area=0.25), seed=2)
    across = np.diff(after[:, 0], axis=2)[:, 5, 5:-5] / (ramp[1] - ramp[0])
    down = np.diff(after[:, 1], axis=1)[:, 5:-5, 5] / (ramp[1] - ramp[0])
    assert np.allclose(across, across[:, :1], atol=1e-3)
    assert np.allclose(down[:, :1], across[:, :1], atol=1e-3)
    assert 0.49 <= across.min() < 0.6
    assert 0.9 < across.max() <= 1.001


def test_jitter_changes_light_not_place() -> None:
    before = np.full((50, 3, 4, 4), 0.5, dtype=np.float32)
    after = augment_squares(before, ImageAugmentationConfig(jitter=1.0, jitter_strength=0.2), seed=3)
    assert np.ptp(after, axis=(1, 2, 3)).max() < 1e-6
    assert 0.4 - 1e-6 <= after.min() < 0.45
    assert 0.55 < after.max() <= 0.6 + 1e-6
