"""Pictures for people: what is drawn is there, in its place, and no larger than it need be."""

import base64
import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from genre_pipeline.contracts.media import Sound
from genre_pipeline.features.looks import (
    contact_sheet,
    log_mel,
    nearest_to,
    plane,
    plane_figure,
    png_uri,
    sound_uri,
    spectrogram_sheet,
)

RED, BLUE = ((200, 0, 0), (0, 0, 200))


def flat(colour: tuple[int, int, int], height: int = 20, width: int = 20) -> np.ndarray:
    return np.full((height, width, 3), colour, dtype=np.uint8)


def tone(hertz: float, seconds: float = 1.0, rate: int = 8_000) -> Sound:
    return Sound(np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate).astype(np.float32), rate)


def opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


def test_a_contact_sheet_has_each_picture_in_its_square() -> None:
    sheet = opened(contact_sheet([flat(RED), flat(BLUE, 40, 20), flat(RED)], columns=2, side=16))
    assert sheet.size == (36, 36)
    assert [sheet.getpixel(at) for at in ((8, 8), (28, 8), (8, 28), (28, 28))] == [RED, BLUE, RED, (255, 255, 255)]
    assert sheet.getpixel((21, 8)) == (255, 255, 255), "a tall picture keeps its proportions"


def test_a_sheet_of_nothing_is_a_picture_all_the_same() -> None:
    assert opened(contact_sheet([])).size[1] > 0
    assert opened(spectrogram_sheet([], [])).size[0] > 0


def test_a_higher_tone_lies_higher() -> None:
    low, high = (log_mel(tone(hertz)).mean(axis=1).argmax() for hertz in (200, 3_000))
    assert low < high
    assert log_mel(Sound(np.zeros(800, dtype=np.float32), 8_000)).shape == (64, 0)


def test_spectrograms_stand_side_by_side_and_silence_leaves_a_gap() -> None:
    silence = log_mel(Sound(np.zeros(800, dtype=np.float32), 8_000))
    png = spectrogram_sheet([log_mel(tone(400)), silence], ["a tone", "nothing"], columns=2)
    pixels = np.asarray(opened(png))
    left, right = np.array_split(pixels, 2, axis=1)
    assert left.std() > right.std()
    assert len(png) < 40_000


def test_a_plane_keeps_the_two_directions_that_vary_most() -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((50, 4)) * [0.1, 5, 0.1, 2]).astype(np.float32)
    points = plane(vectors)
    centred = vectors - vectors.mean(axis=0)
    assert points.shape == (50, 2)
    assert abs(np.corrcoef(points[:, 0], centred[:, 1])[0, 1]) > 0.99
    assert abs(np.corrcoef(points[:, 1], centred[:, 3])[0, 1]) > 0.95
    assert np.array_equal(plane(vectors), points)
    assert plane(vectors[:, :1]).shape == (50, 2)


def test_a_plane_is_drawn_with_its_categories() -> None:
    points = np.array([[0, 0], [1, 1], [2, 0]], dtype=np.float32)
    assert opened(plane_figure(points, ["space", None, "space"], "three items")).size == (480, 336)


def test_neighbours_leave_out_the_item_itself_and_what_is_masked() -> None:
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 0], [0, 1]], dtype=np.float32)
    where, cosines = nearest_to(vectors, [0, 3], 3)
    assert where.tolist() == [[1, 3, -1], [1, 0, -1]]
    assert cosines == pytest.approx(np.array([[0.8, 0, 0], [0.6, 0, 0]], dtype=np.float32))


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 12), st.integers(1, 6), st.integers(0, 99))
def test_neighbours_come_in_order_of_their_cosines(n: int, k: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).standard_normal((n, 3)).astype(np.float32)
    where, cosines = nearest_to(vectors, range(n), k)
    for row in range(n):
        listed = where[row][where[row] >= 0]
        assert row not in listed
        assert len(set(listed.tolist())) == len(listed) == min(k, n - 1)
        assert (np.diff(cosines[row][: len(listed)]) <= 0).all()


def test_a_sound_is_a_short_file_that_a_browser_plays() -> None:
    uri = sound_uri(tone(440, seconds=2, rate=48_000), seconds=0.5)
    head, _, body = uri.partition(",")
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(body)))
    assert head == "data:audio/wav;base64"
    assert len(samples) / rate == pytest.approx(0.5, abs=0.01)
    assert np.abs(samples).max() > 0.5


def test_a_png_uri_is_the_picture() -> None:
    png = contact_sheet([flat(RED)])
    assert base64.b64decode(png_uri(png).partition(",")[2]) == png
