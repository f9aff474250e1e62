"""The technique `tower`: learned of a past and of no more, once, and never worse than what stands still."""

import hashlib
import json

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.models.causal import tiny_causal
from genre_pipeline.offline import item_tower
from genre_pipeline.offline.dataset import Prepared, vectors_on
from genre_pipeline.offline.item_tower import learn_tower, tower_on
from genre_pipeline.preprocessing.augmentation import AugmentationConfig
from genre_pipeline.preprocessing.augmentation_text import TextAugmentationConfig
from genre_pipeline.preprocessing.dataset import clean_dataset
from genre_pipeline.training.tower_config import ItemPairsConfig
from genre_pipeline.training.tower_training import Verdict
from tests.training.shop import tables, tiny_tower

ITEMS, INTERACTIONS = tables()


@pytest.fixture
def config(tmp_path) -> GenreConfig:
    tower = tiny_tower(tmp_path / "encoder", enabled=True)
    features = {"for_recommenders": ["text_llm", "tower"]}
    return GenreConfig(home=tmp_path / "home", item_tower=tower.model_dump(), features=features)


@pytest.fixture
def always_wins(monkeypatch) -> None:
    monkeypatch.setattr(
        "genre_pipeline.training.tower_training._verdict", lambda *_args: Verdict(True, 0.2, 0.1, 0.1, 0.05, 0.15, 60)
    )


def test_one_row_an_item_in_their_order(config):
    vectors = tower_on(ITEMS, INTERACTIONS, {}, config)
    assert vectors["item_id"].to_list() == ITEMS["item_id"].to_list()
    assert vectors["vector"].list.len().unique().to_list() == [16]
    assert vectors["model"].n_unique() == 1


def test_an_equal_past_is_learned_of_once(config, monkeypatch):
    first = tower_on(ITEMS, INTERACTIONS, {}, config)
    monkeypatch.setattr(item_tower, "learn_tower", None)
    assert_frame_equal(tower_on(ITEMS, INTERACTIONS, {}, config), first)
    with pytest.raises(TypeError):
        tower_on(ITEMS, INTERACTIONS.head(600), {}, config)


@pytest.mark.usefixtures("always_wins")
def test_a_tower_that_wins_is_trained_again_on_everything(config):
    learned = learn_tower(ITEMS, INTERACTIONS, {}, config)
    assert learned.final is not None
    assert learned.final.decisions["events"] == INTERACTIONS.height
    assert learned.validated.decisions["events"] < INTERACTIONS.height
    assert learned.vectors["model"][0].startswith("item_tower/tower/")
    np.testing.assert_allclose(np.stack(learned.vectors["vector"].to_list()), learned.final.vectors, atol=1e-6)


def test_a_tower_that_does_not_win_never_serves(config, monkeypatch):
    lost = Verdict(False, 0.1, 0.1, 0.0, -0.05, 0.05, 60)
    monkeypatch.setattr("genre_pipeline.training.tower_training._verdict", lambda *_args: lost)
    learned = learn_tower(ITEMS, INTERACTIONS, {}, config)
    assert learned.final is None
    assert learned.vectors["model"][0].startswith("item_tower/frozen/")
    np.testing.assert_allclose(np.stack(learned.vectors["vector"].to_list()), learned.validated.frozen, atol=1e-6)


def test_a_gguf_file_is_trained_from_what_it_was_converted_to(config, tmp_path):
    source = tmp_path / "model.gguf"
    source.write_bytes(b"stands for weights")
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    folder = tiny_causal(config.home / "cache" / "models" / f"{sha256[:16]}-1")
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    (folder / "converted.json").write_text(json.dumps(digests))
    for pinned in (sha256, "0" * 64):
        said = {"kind": "gpt", "source": str(source), "weights_sha256": pinned}
        tower = config.item_tower.tower.model_copy(update=said)
        training = config.item_tower.model_copy(update={"tower": tower})
        if pinned == sha256:
            assert learn_tower(ITEMS, INTERACTIONS, {}, config, training=training).validated.tower.config.kind == "gpt"
        else:
            with pytest.raises(ModelFileError):
                learn_tower(ITEMS, INTERACTIONS, {}, config, training=training)


def test_the_configured_views_are_what_pairs_are_learned_of(config):
    """Fields that are lost, and not words alone."""
    items = ITEMS.with_columns(description=pl.col("title").str.to_uppercase())
    pairs = config.item_tower.model_copy(update={"pairs": ItemPairsConfig(epochs=1, batch_size=16)})

    def learned(**changes: float) -> np.ndarray:
        text = TextAugmentationConfig(**changes)
        preprocessing = config.preprocessing.model_copy(update={"augmentation": AugmentationConfig(text=text)})
        changed = config.model_copy(update={"preprocessing": preprocessing})
        return learn_tower(items, INTERACTIONS, {}, changed, training=pairs).validated.vectors

    whole = learned()
    for changes in ({"title_only": 1.0}, {"field_dropout": 0.5}, {"token_dropout": 0.3}):
        assert not np.array_equal(learned(**changes), whole), changes


@pytest.mark.usefixtures("always_wins")
def test_recommenders_get_what_was_learned_of_the_past_alone(config):
    """The night's own vectors, which know everything, are not what a past is judged with."""
    past = INTERACTIONS.filter(pl.col("timestamp") < pl.col("timestamp").sort().gather(600).first())
    night = tower_on(ITEMS, INTERACTIONS, {}, config)
    dataset = clean_dataset(INTERACTIONS.lazy(), ITEMS.lazy(), None, config.preprocessing, name="world")
    prepared = Prepared(dataset, {"tower": night})
    made = vectors_on(prepared, past, config)["tower"]
    assert_frame_equal(made, tower_on(ITEMS, past, {}, config))
    assert made["model"][0] != night["model"][0]
    assert not made["vector"].equals(night["vector"])
