"""A tiny shop for tests of towers: what a text says decides what is taken next, among words that say nothing."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from genre_pipeline.contracts.training_set import TrainingSet, build_training_set
from genre_pipeline.features.item_texts import compose_item_texts
from genre_pipeline.models.bert import tiny_encoder
from genre_pipeline.models.sequence_config import SequenceConfig
from genre_pipeline.models.tower_config import TowerConfig
from genre_pipeline.training.tower_config import TowerTrainingConfig

KINDS = ("tent", "stove", "lamp", "rope", "boots", "map")
NOISE = ("red", "blue", "new", "old", "big", "small", "light", "fine", "good", "cheap")
START = datetime(2024, 1, 1, tzinfo=UTC)


def tables(*, users: int = 60, per_kind: int = 5, events: int = 12, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(items, interactions): after an item of one kind comes one of the kind after it."""
    random = np.random.default_rng(seed)
    kinds = np.tile(np.arange(len(KINDS)), per_kind)
    words = [" ".join([*random.choice(NOISE, 3), KINDS[kind], *random.choice(NOISE, 2)]) for kind in kinds]
    items = pl.DataFrame(
        {
            "item_id": [f"i{place:03}" for place in range(len(kinds))],
            "title": words,
            "description": None,
            "categories": None,
            "available": True,
            "published_at": None,
        },
        schema_overrides={
            "description": pl.String,
            "categories": pl.List(pl.String),
            "published_at": pl.Datetime("us", "UTC"),
        },
    )
    walks = (random.integers(len(KINDS), size=(users, 1)) + np.arange(events)) % len(KINDS)
    taken = walks + len(KINDS) * random.integers(per_kind, size=walks.shape)
    interactions = pl.DataFrame(
        {
            "user_id": np.repeat([f"u{user:03}" for user in range(users)], events),
            "item_id": items["item_id"].gather(taken.ravel()),
            "timestamp": [START + timedelta(hours=step) for _user in range(users) for step in range(events)],
            "event": "view",
        },
        schema_overrides={"timestamp": pl.Datetime("us", "UTC")},
    )
    return items, interactions


def shop() -> tuple[TrainingSet, pl.DataFrame]:
    """(training set, texts by `ItemTexts`) of all that happened."""
    items, interactions = tables()
    data = build_training_set(interactions, items, as_of=START + timedelta(days=30))
    return data, compose_item_texts(items)


def tiny_tower(folder: Path, **changes: object) -> TowerTrainingConfig:
    """A configuration whose tower is a tiny encoder written to `folder`."""
    source = tiny_encoder(folder, [*KINDS, *NOISE], layers=3, width=16)
    tower = TowerConfig(source=str(source), fine_tune="top_layers", top_layers=1, max_tokens=12)
    network = SequenceConfig(width=16, length=8, dropout=0.0, id_dropout=0.0, ids=False)
    config = TowerTrainingConfig(
        tower=tower, network=network, epochs=2, user_epochs=2, batch_size=16, fresh_items=8, learning_rate=1e-3
    )
    return config.model_copy(update=changes)
