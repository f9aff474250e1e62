import colorsys

import numpy as np
import pytest
import torch

from genre_pipeline.contracts.media import Picture
from genre_pipeline.features.image_descriptors import Descriptors, DescriptorsConfig, hue_saturation_value
from genre_pipeline.features.similarity import cosine
from tests.features.media_contract import ImageContract


class TestDescriptorsContract(ImageContract):
    @pytest.fixture
    def extractor(self) -> Descriptors:
        return Descriptors()


def stripes(colour: tuple[int, int, int], *, across: bool) -> Picture:
    pixels = np.zeros((64, 64, 3), dtype=np.uint8)
    pixels[(np.arange(64) // 8) % 2 == 0] = colour
    return Picture(np.ascontiguousarray(pixels if across else pixels.transpose(1, 0, 2)))


def test_hue_saturation_and_value_are_those_of_the_standard_library() -> None:
    colours = np.random.default_rng(0).random((50, 3)).astype(np.float32)
    colours[:3] = [[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5]]
    ours = hue_saturation_value(torch.from_numpy(colours.T.reshape(1, 3, 50, 1)))[0, :, :, 0].T.numpy()
    expected = np.array([colorsys.rgb_to_hsv(*colour) for colour in colours.tolist()])
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_colour_and_direction_both_count() -> None:
    red, red_down, blue_down = (
        stripes((255, 0, 0), across=True),
        stripes((255, 0, 0), across=False),
        stripes((0, 0, 255), across=False),
    )
    similarity = cosine(*[Descriptors().encode([red, red_down, blue_down])] * 2)
    assert similarity[0, 1] > similarity[0, 2]  # the same colour is nearer than neither
    assert similarity[1, 2] > similarity[0, 2]  # the same direction is nearer than neither
    assert similarity[0, 1] < 0.95


def test_a_turned_edge_is_the_same_edge_and_the_identity_tells_settings_apart() -> None:
    one = stripes((200, 10, 60), across=True)
    turned = Picture(np.ascontiguousarray(one.pixels[::-1, ::-1]))
    edges = slice(192, 192 + 36 * 9)
    first, second = Descriptors().encode([one, turned])[:, edges].reshape(2, 9, 6, 6)
    np.testing.assert_allclose(first, second[:, ::-1, ::-1], atol=1e-5)
    assert Descriptors(DescriptorsConfig(hues=6)).model != Descriptors().model
