"""A tower learns that views of one item, and items taken one after the other, belong together."""

import numpy as np
import polars as pl
import pytest
import torch

from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.models.towers import build_tower
from genre_pipeline.preprocessing.augmentation_text import TextAugmentationConfig, augment_texts
from genre_pipeline.training.item_pairs import RECALL, ItemPairsTask, consecutive_pairs
from genre_pipeline.training.loop import train
from genre_pipeline.training.tower_config import ItemPairsConfig
from genre_pipeline.training.validation import data_histories
from tests.training.shop import shop, tiny_tower

CONFIG = ItemPairsConfig(epochs=6, batch_size=24, learning_rate=2e-3, patience=6)


def dropped(texts):
    config = TextAugmentationConfig(token_dropout=0.3)
    return lambda items, seed: augment_texts(pl.Series(texts).gather(items), config, seed=seed).to_list()


@pytest.fixture
def tower(tmp_path):
    config = tiny_tower(tmp_path / "encoder").tower
    return build_tower(config.model_copy(update={"fine_tune": "full"}))


@pytest.fixture(scope="module")
def world():
    data, texts = shop()
    return data, texts["text"].to_list(), consecutive_pairs(data_histories(data))


def test_pairs_follow_one_another_within_a_user_only(world):
    _data, _texts, pairs = world
    kinds = pairs % 6
    assert ((kinds[:, 0] + 1) % 6 == kinds[:, 1]).all()
    assert len(np.unique(pairs, axis=0)) == len(pairs)


def test_the_loss_falls_and_views_are_found_again(tower, world):
    _data, texts, pairs = world
    views = np.repeat(np.arange(24)[:, None], 2, axis=1)
    config = CONFIG.model_copy(update={"views_share": 1.0})
    task = ItemPairsTask(tower, texts, pairs, config, seed=1, view=dropped(texts), held_out=views)
    result = train(task, config, seed=1)
    assert result.epochs["train_loss"].min() < 0.95 * result.epochs["train_loss"][0]
    assert task.validate()[RECALL] == result.epochs[RECALL].max()


def test_both_kinds_of_pairs_are_mixed_by_their_share(tower, world):
    _data, texts, pairs = world
    task = ItemPairsTask(tower, texts, pairs, CONFIG, seed=1, view=dropped(texts))
    items = torch.cat([batch.items for batch in task.batches(1)])
    is_view = (items[:, 0] == items[:, 1]).float().mean()
    assert float(is_view) == pytest.approx(0.5, abs=0.02)
    assert task.batch_count() == len(list(task.batches(1)))


def test_an_epoch_is_the_same_whenever_it_is_asked_for(tower, world):
    _data, texts, pairs = world
    task = ItemPairsTask(tower, texts, pairs, CONFIG, seed=1, view=dropped(texts))
    for one, two in zip(task.batches(3), task.batches(3), strict=True):
        assert all(torch.equal(left, right) for left, right in zip(one, two, strict=True))


def test_the_same_item_again_is_no_wrong_answer(tower, world):
    _data, texts, pairs = world
    task = ItemPairsTask(tower, texts, pairs, CONFIG, seed=1)
    batch = task._batch(np.array([[0, 1], [0, 2], [3, 1], [4, 5]]), 0)
    out = task._scores(batch) < -1
    assert out.tolist() == [
        [False, True, True, False],
        [True, False, False, False],
        [True, False, False, False],
        [False, False, False, False],
    ]


def test_no_pairs_are_refused(tower, world):
    _data, texts, _pairs = world
    with pytest.raises(TrainingError, match="0 pairs"):
        ItemPairsTask(tower, texts, np.zeros((0, 2), dtype=np.int64), CONFIG, seed=1)
