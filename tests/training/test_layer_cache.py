"""The layer cache gives back what the lower layers computed, survives kills and damage, and stays small in memory."""

import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.models.bert import locate_encoder, tiny_encoder
from genre_pipeline.models.bert_tower import BertTower
from genre_pipeline.models.token_batches import padded
from genre_pipeline.models.tower_config import TowerConfig
from genre_pipeline.training import layer_cache
from genre_pipeline.training.layer_cache import LayerCache

TEXTS = pl.Series(["love and war", "war", "a long tale of love, war and peace", "peace", "love"])


def hashes(texts: pl.Series) -> pl.Series:
    return texts.hash(1).cast(pl.String)


@pytest.fixture(scope="module")
def tower(tmp_path_factory) -> BertTower:
    source = tiny_encoder(tmp_path_factory.mktemp("encoder"), ["love", "war", "peace"], layers=3)
    config = TowerConfig(source=str(source), fine_tune="top_layers", top_layers=1, max_tokens=16)
    return BertTower.load(config, locate_encoder(str(source))).eval()


def computed(tower: BertTower, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    ids, mask = map(torch.from_numpy, padded(tower.tokenise(texts), pad=tower.pad))
    return tower.lower(ids, mask, tower.frozen_layers), mask


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_what_is_held_is_what_the_lower_layers_give(tower, tmp_path, dtype):
    states = LayerCache(tmp_path, dtype=dtype).states(tower, hashes(TEXTS), TEXTS)
    hidden, mask = states.take(np.array([3, 0, 2]))
    expected, expected_mask = computed(tower, [TEXTS[3], TEXTS[0], TEXTS[2]])
    assert torch.equal(mask, expected_mask)
    kept = expected * mask.unsqueeze(-1)
    torch.testing.assert_close(hidden.float(), kept, atol=2e-3 if dtype == "float16" else 2e-2, rtol=1e-2)


def test_the_upper_layers_give_the_same_vectors_from_the_cache(tower, tmp_path):
    hidden, mask = LayerCache(tmp_path).states(tower, hashes(TEXTS), TEXTS).take(np.arange(5))
    ids, _mask = map(torch.from_numpy, padded(tower.tokenise(TEXTS.to_list()), pad=tower.pad))
    with torch.no_grad():
        torch.testing.assert_close(
            tower.upper(hidden.float(), mask, tower.frozen_layers), tower(ids, mask), atol=5e-3, rtol=0
        )


@given(order=st.lists(st.integers(0, 4), min_size=1, max_size=12), block=st.sampled_from([16, 32, 1000]))
@settings(max_examples=15, deadline=None)
def test_any_rows_in_any_order_from_blocks_of_any_size(tower, tmp_path_factory, order, block):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_cache, "_BLOCK_TOKENS", block)
        states = LayerCache(folder).states(tower, hashes(TEXTS), TEXTS)
    hidden, mask = states.take(np.array(order))
    for place, row in enumerate(order):
        alone, its_mask = states.take(np.array([row]))
        assert int(mask[place].sum()) == int(its_mask.sum()) == len(tower.tokenise([TEXTS[row]])[0])
        assert torch.equal(hidden[place, mask[place]], alone[0])
        assert not hidden[place, ~mask[place]].any()


def test_only_new_texts_are_computed_and_equal_texts_once(tower, tmp_path):
    cache, seen = LayerCache(tmp_path), []
    cache.states(tower, hashes(TEXTS[:3]), TEXTS[:3], lambda done, total: seen.append((done, total)))
    again = pl.concat([TEXTS, TEXTS[:1]])
    states = cache.states(tower, hashes(again), again, lambda done, total: seen.append((done, total)))
    assert seen == [(3, 3), (2, 2)]
    assert torch.equal(states.take(np.array([0]))[0], states.take(np.array([5]))[0])


def test_another_layer_or_another_model_has_states_of_its_own(tower, tmp_path):
    cache, seen = LayerCache(tmp_path), []
    cache.states(tower, hashes(TEXTS), TEXTS)
    other = BertTower.load(tower.config.model_copy(update={"top_layers": 2}), locate_encoder(tower.config.source))
    cache.states(other, hashes(TEXTS), TEXTS, lambda done, total: seen.append((done, total)))
    assert seen == [(5, 5)]


def test_a_killed_run_keeps_the_blocks_it_finished(tower, tmp_path, monkeypatch):
    monkeypatch.setattr(layer_cache, "_BLOCK_TOKENS", 32)

    class Killed(BaseException):
        pass

    def kill_after_the_first(done: int, _total: int) -> None:
        if done:
            raise Killed

    with pytest.raises(Killed):
        LayerCache(tmp_path).states(tower, hashes(TEXTS), TEXTS, kill_after_the_first)
    (tmp_path / next(tmp_path.iterdir()).name / ".writing-left").mkdir()
    seen: list[tuple[int, int]] = []
    states = LayerCache(tmp_path).states(tower, hashes(TEXTS), TEXTS, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (3, 3)
    assert states.take(np.arange(5))[1].any(dim=1).all()


def test_a_damaged_block_is_set_aside_and_computed_again(tower, tmp_path):
    cache = LayerCache(tmp_path)
    before, _mask = cache.states(tower, hashes(TEXTS), TEXTS).take(np.arange(5))
    path = next(tmp_path.rglob("states.npy"))
    damaged = bytearray(path.read_bytes())
    damaged[-100] ^= 1
    path.write_bytes(damaged)
    seen: list[tuple[int, int]] = []
    after, _mask = cache.states(tower, hashes(TEXTS), TEXTS, lambda done, total: seen.append((done, total))).take(
        np.arange(5)
    )
    assert seen == [(5, 5)]
    assert torch.equal(before, after)
    assert len(list(tmp_path.glob("*/*.corrupt"))) == 1


def test_states_beyond_the_dtype_are_refused(tower, tmp_path, monkeypatch):
    lower = BertTower.lower
    monkeypatch.setattr(BertTower, "lower", lambda *args: lower(*args) * 1e6)
    with pytest.raises(ModelFileError, match="not finite in float16"):
        LayerCache(tmp_path).states(tower, hashes(TEXTS), TEXTS)


_PROGRAM = """
import resource, sys
from pathlib import Path
import numpy as np, polars as pl, torch
from genre_pipeline.models.bert import locate_encoder
from genre_pipeline.models.bert_tower import BertTower
from genre_pipeline.models.tower_config import TowerConfig
from genre_pipeline.training.layer_cache import LayerCache

torch.set_num_threads(1)
source, folder, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
config = TowerConfig(source=source, fine_tune="top_layers", top_layers=1, max_tokens=64)
tower = BertTower.load(config, locate_encoder(source)).eval()
texts = pl.select(pl.concat_str(pl.int_range(count), pl.lit(" love and war and peace" * 3)).alias("t"))["t"]
states = LayerCache(folder).states(tower, texts, texts)
for start in range(0, count, 128):
    states.take(np.arange(start, min(start + 128, count)))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, sum(block.nbytes for block in states.blocks))
"""


@pytest.mark.slow
def test_peak_memory_is_flat_when_the_items_double(tmp_path):
    source = tiny_encoder(tmp_path / "encoder", ["love", "war", "peace", "and"], layers=2, width=256)
    peaks, sizes = [], []
    for count in (12_000, 24_000):
        arguments = [sys.executable, "-c", _PROGRAM, str(source), str(tmp_path / str(count)), str(count)]
        peak, size = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.split()[-2:]
        peaks.append(int(peak))
        sizes.append(int(size))
    assert sizes[1] > 1.9 * sizes[0]
    assert peaks[1] < 1.1 * peaks[0], (peaks, sizes)
