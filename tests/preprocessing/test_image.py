"""Pictures as an encoder reads them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genre_pipeline.contracts.media import ImageInput, Picture
from genre_pipeline.preprocessing.image import ImageNormaliser

PLAIN = ImageInput(size=8, crop_share=1.0, mean=(0.0, 0.0, 0.0), deviation=(1.0, 1.0, 1.0))


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), max_size=4), st.floats(0.1, 1.0))
@settings(max_examples=40, deadline=None)
def test_any_size_becomes_the_encoders(sizes: list[tuple[int, int]], crop: float) -> None:
    rng = np.random.default_rng(0)
    pictures = [Picture(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]
    normaliser = ImageNormaliser(ImageInput(size=8, crop_share=crop))
    squares = normaliser.squares(pictures)
    assert (squares.shape, squares.dtype) == ((len(sizes), 3, 8, 8), np.float32)
    assert squares.min(initial=0) >= 0
    assert squares.max(initial=0) <= 1
    assert np.array_equal(normaliser(pictures), normaliser.standardise(squares))


def test_a_picture_of_the_right_size_keeps_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    expected = pixels.transpose(2, 0, 1).astype(np.float32) / 255
    assert np.allclose(ImageNormaliser(PLAIN)([Picture(pixels)])[0], expected, atol=1e-6)


def test_the_centre_is_kept() -> None:
    pixels = np.zeros((16, 48, 3), dtype=np.uint8)
    pixels[:, 16:32] = 255
    square = ImageNormaliser(PLAIN)([Picture(pixels)])
    assert (square[..., 1:-1] == 1).all()
    assert square.min() > 0.9  # the filter reaches a little over the edge
    pixels = np.zeros((40, 40, 3), dtype=np.uint8)
    pixels[10:30, 10:30] = 255
    half = PLAIN.model_copy(update={"crop_share": 0.5})
    assert (ImageNormaliser(half)([Picture(pixels)])[..., 1:-1, 1:-1] == 1).all()


def test_each_channel_has_its_own_mean_and_deviation() -> None:
    white = Picture(np.full((8, 8, 3), 255, dtype=np.uint8))
    array = ImageNormaliser(ImageInput(size=8))([white])
    assert array[0, :, 0, 0] == pytest.approx([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])
    assert array.dtype == np.float32
