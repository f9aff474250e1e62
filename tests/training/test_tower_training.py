"""An item tower learns with a bounded number of items a step, and is judged against itself standing still."""

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from genre_pipeline.contracts.errors import ConfigError, TrainingError
from genre_pipeline.models.tower_config import LoraConfig
from genre_pipeline.training.tower_config import ItemPairsConfig
from genre_pipeline.training.tower_training import refit_tower, train_tower
from genre_pipeline.training.validation import ValidationTarget
from tests.training.shop import shop, tiny_tower

SEED = 3


@pytest.fixture(scope="module")
def world():
    data, texts = shop()
    # What each user takes after the last known item: an item of the next kind.
    last = data.events.group_by("user_index", maintain_order=True).agg(pl.col("item_index").last())
    follows = (last["item_index"].to_numpy().astype(np.int64) + 1) % data.n_items
    return data, texts, ValidationTarget(last["user_index"].to_numpy().astype(np.int64), follows)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return tiny_tower(tmp_path_factory.mktemp("encoder"))


def trained(world, config, **options):
    data, texts, target = world
    return train_tower(data, texts, config, seed=SEED, validation=target, **options)


def test_one_vector_an_item_a_verdict_and_curves(world, config, tmp_path):
    result = trained(world, config, cache=tmp_path)
    assert result.vectors.shape == (world[0].n_items, 16)
    np.testing.assert_allclose(np.linalg.norm(result.vectors, axis=1), 1, rtol=1e-5)
    assert result.curves["epoch"].to_list() == [1, 2]
    assert result.curves["validation_ndcg"].is_not_null().all()
    verdict = result.verdict
    assert verdict.low <= verdict.difference <= verdict.high
    assert verdict.beats_frozen == (verdict.low > 0)
    assert verdict.difference == pytest.approx(verdict.tuned - verdict.frozen)


def test_the_same_seed_gives_the_same_bytes(world, config, tmp_path):
    one, two = trained(world, config, cache=tmp_path), trained(world, config, cache=tmp_path)
    np.testing.assert_array_equal(one.vectors, two.vectors)
    assert one.decisions == two.decisions


def test_the_cached_layers_train_as_the_uncached(world, config, tmp_path):
    cached, whole = trained(world, config, cache=tmp_path), trained(world, config)
    np.testing.assert_allclose(cached.steps["train_loss"], whole.steps["train_loss"], atol=1e-3)
    np.testing.assert_allclose(cached.vectors, whole.vectors, atol=2e-2)


def test_frozen_layers_stay_and_trained_ones_move(world, config):
    from genre_pipeline.models.towers import build_tower

    before = build_tower(config.tower).state_dict()
    after = trained(world, config).tower.state_dict()
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert moved
    assert all(".layer.2." in name for name in moved)


@pytest.mark.parametrize("targets", ["embedding", "attention", "all-linear"])
def test_adapters_are_merged_into_a_plain_network(world, config, targets):
    tower = config.tower.model_copy(update={"fine_tune": "lora", "lora": LoraConfig(targets=targets, rank=2)})
    result = trained(world, config.model_copy(update={"tower": tower, "epochs": 1}))
    assert not [name for name in result.tower.state_dict() if "lora" in name]
    assert not [weight for weight in result.tower.parameters() if weight.requires_grad]
    texts = world[1]["text"].to_list()
    from genre_pipeline.models.tower import encode_tokens

    vectors = encode_tokens(result.tower, result.tower.tokenise(texts))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, result.vectors, atol=1e-5)


def test_a_step_reads_no_more_items_than_it_may(world, config, monkeypatch):
    from genre_pipeline.training.item_reading import ItemReading

    read, vectors = [], ItemReading.vectors

    def counted(self, items, **options):
        read.append(len(items))
        return vectors(self, items, **options)

    monkeypatch.setattr(ItemReading, "vectors", counted)
    trained(world, config)
    assert max(read) == config.fresh_items
    assert world[0].n_items > config.fresh_items


def test_items_without_a_text_have_no_vector_and_do_no_harm(world, config):
    data, texts, target = world
    silent = texts.with_columns(pl.when(pl.col("item_id") != "i003").then("text").alias("text"))
    result = train_tower(data, silent, config, seed=SEED, validation=target)
    assert not result.vectors[3].any()
    assert result.vectors[[2, 4]].any(axis=1).all()


def test_no_text_at_all_is_refused(world, config):
    data, texts, target = world
    silent = texts.with_columns(pl.lit(None, pl.String).alias("text"))
    with pytest.raises(TrainingError, match="No item has a text"):
        train_tower(data, silent, config, seed=SEED, validation=target)


def test_what_a_tower_is_compared_with_must_be_there(world, config):
    with pytest.raises(ConfigError, match="no vectors 'text_llm'"):
        trained(world, config.model_copy(update={"against": "text_llm"}))


def test_a_refit_follows_the_plan(world, config):
    data, texts, _target = world
    result = refit_tower(data, texts, config, ((2, 1), (4, 2)), seed=SEED)
    assert result.curves["epoch"].to_list() == [1, 2]
    assert result.plan == ((2, 1), (4, 2))
    assert result.verdict is None


def test_a_training_goes_on_where_it_was_killed(world, config, tmp_path):
    class Killed(BaseException):
        pass

    def kill(_row):
        raise Killed

    whole = trained(world, config)
    with pytest.raises(Killed):
        trained(world, config, checkpoints=tmp_path, report=kill)
    resumed = trained(world, config, checkpoints=tmp_path)
    np.testing.assert_array_equal(whole.vectors, resumed.vectors)
    columns = ["step", "train_loss", "learning_rate", "grad_norm"]
    assert_frame_equal(whole.steps.select(columns), resumed.steps.select(columns))


def test_pairs_come_first_where_they_are_asked_for(world, config):
    pairs = ItemPairsConfig(epochs=1, batch_size=16)
    told: list[int] = []

    def view(item_ids, seed):
        told.append(seed)
        texts = dict(world[1].select("item_id", "text").iter_rows())
        return [texts[item_id].split(" ", 1)[1] for item_id in item_ids]

    with_pairs = trained(world, config.model_copy(update={"pairs": pairs}), view=view)
    assert told
    assert not np.array_equal(with_pairs.vectors, trained(world, config).vectors)
