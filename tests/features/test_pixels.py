import numpy as np
import torch
from PIL import Image

from genre_pipeline.contracts.media import ImageInput, Picture
from genre_pipeline.features.pixels import resize, to_pixels
from tests.features.media_contract import picture


def test_the_centre_is_cut_before_it_is_resized() -> None:
    pixels = np.zeros((100, 40, 3), dtype=np.uint8)
    pixels[40:60, 10:30] = (10, 20, 30)
    resized = resize([Picture(pixels)], 8, crop_share=0.5)
    expected = np.broadcast_to(np.array([10, 20, 30], dtype=np.uint8).reshape(1, 3, 1, 1), (1, 3, 8, 8))
    np.testing.assert_array_equal(resized.numpy(), expected)


def test_resizing_agrees_with_pillow() -> None:
    one = picture(60, 60, 1)
    by_pillow = np.asarray(Image.fromarray(one.pixels).resize((32, 32), Image.Resampling.BICUBIC))
    ours = resize([one], 32, 1.0)[0].permute(1, 2, 0).numpy()
    assert np.abs(ours.astype(int) - by_pillow).max() <= 1


def test_values_are_less_mean_by_deviation_in_channels_last() -> None:
    wanted = ImageInput(size=8, crop_share=1, mean=(0.5, 0.25, 0), deviation=(0.5, 0.25, 1))
    pixels = to_pixels([Picture(np.full((9, 12, 3), 255, dtype=np.uint8))] * 2, wanted)
    assert pixels.shape == (2, 3, 8, 8)
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    expected = torch.tensor([1.0, 3.0, 1.0]).reshape(1, 3, 1, 1).expand(2, 3, 8, 8)
    torch.testing.assert_close(pixels, expected)
