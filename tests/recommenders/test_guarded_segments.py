from datetime import UTC, datetime, timedelta
from typing import ClassVar, Self

import numpy as np
import polars as pl
import pytest

from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.training_set import TrainingSet, build_training_set
from genre_pipeline.recommenders.base import Recommender
from genre_pipeline.recommenders.guarded_segments import segment_scores
from genre_pipeline.recommenders.validation import build_validation, validation_ndcg
from genre_pipeline.training.promotion import PromotionConfig

AS_OF = datetime(2024, 1, 1, tzinfo=UTC)
CONFIG = PromotionConfig(light_history=1, heavy_history=2, head_share=0.5)


class ByName(Recommender):
    """Ranks items by their id, the smallest first."""

    name: ClassVar[str] = "by_name"

    def __init__(self, config: Settings) -> None:
        self.config = config

    def fit(self, data: TrainingSet, *, seed: int) -> Self:
        self.scores = -np.arange(data.n_items, dtype=np.float32)
        return self

    def score(self, users: np.ndarray) -> np.ndarray:
        return np.tile(self.scores, (len(users), 1))


def _world() -> tuple[TrainingSet, pl.DataFrame]:
    """Item a was taken by all, b and c by one each, d by nobody. Users have 1, 2 and 3 items."""
    had = {"u1": "a", "u2": "ab", "u3": "abc", "u4": "a"}
    rows = [(user, item, AS_OF - timedelta(days=1)) for user, items in had.items() for item in items]
    interactions = pl.DataFrame(
        rows, schema={"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Datetime("us", "UTC")}, orient="row"
    ).with_columns(event=pl.lit("view"))
    items = pl.DataFrame({"item_id": list("abcde")}).with_columns(
        available=pl.lit(True),
        published_at=pl.lit(AS_OF - timedelta(days=9)),
        categories=pl.lit([], pl.List(pl.String)),
    )
    truth = pl.DataFrame({"user_id": ["u1", "u1", "u2", "u3"], "item_id": ["b", "d", "c", "d"]})
    return build_training_set(interactions, items, as_of=AS_OF), truth


def test_scores_are_of_users_and_of_what_they_wanted() -> None:
    data, truth = _world()
    recommender = ByName(Settings()).fit(data, seed=0)
    validation = build_validation(data, truth, max_users=99, seed=0)
    scores = segment_scores(recommender, data, validation, CONFIG)
    third = 1 / np.log2(4)
    both = 1 + 1 / np.log2(3)
    expected = pl.DataFrame(
        [
            ("u1", "all", (1 + third) / both),
            ("u2", "all", 1.0),
            ("u3", "all", 1.0),
            ("u1", "light", (1 + third) / both),
            ("u3", "heavy", 1.0),
            ("u1", "tail", 1.0),
            ("u2", "tail", 1.0),
            ("u1", "cold", third),
            ("u3", "cold", 1.0),
        ],
        schema={"user_id": pl.String, "segment": pl.String, "ndcg": pl.Float64},
        orient="row",
    )
    assert scores.select("user_id", "segment").equals(expected.select("user_id", "segment"))
    assert scores["ndcg"].to_list() == pytest.approx(expected["ndcg"].to_list())
    everybody = scores.filter(segment="all")["ndcg"].to_list()
    assert everybody == pytest.approx(validation_ndcg(recommender, data, validation).tolist())
