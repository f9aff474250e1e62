import importlib.util
from pathlib import Path

import numpy as np
import pytest

from genre_pipeline.features.audio_musicnn import MusicnnConfig, MusicnnFeatures
from tests.features.media_contract import AudioContract, tone

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("musicnn") is None, reason="the package musicnn is not installed"
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


@pytest.mark.slow
class TestMusicnnContract(AudioContract):
    tolerance = 1e-4

    @pytest.fixture
    def extractor(self, cache: Path) -> MusicnnFeatures:
        return MusicnnFeatures(cache)


@pytest.mark.slow
def test_windows_in_blocks_of_any_size_give_the_same(cache: Path) -> None:
    sounds = [tone(300, 7.0), tone(500, 1.0)]
    one, many = (MusicnnFeatures(cache, MusicnnConfig(windows_at_once=size)).encode(sounds) for size in (1, 8))
    np.testing.assert_allclose(one, many, atol=1e-4)
    assert MusicnnFeatures(cache, MusicnnConfig(max_windows=1)).model != MusicnnFeatures(cache).model
