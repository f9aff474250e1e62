from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from genre_pipeline.contracts.tables import PopularItems
from genre_pipeline.contracts.training_set import TrainingSet, build_training_set
from genre_pipeline.recommenders.popularity import PopularityConfig, PopularityRecommender, popular_lists, popularity
from tests.recommenders import tiny_world
from tests.recommenders.recommender_contract import RecommenderContract

DAY = timedelta(days=1)
AS_OF = tiny_world.AS_OF
ROWS = [
    ("a", "i00", AS_OF - 4 * DAY),
    ("b", "i00", AS_OF - 2 * DAY),
    ("a", "i01", AS_OF - DAY),
    ("a", "i01", AS_OF - DAY),
]
"""The last row is the one before it again."""


class TestPopularity(RecommenderContract):
    @pytest.fixture
    def recommender(self) -> PopularityRecommender:
        return PopularityRecommender(PopularityConfig())

    def test_everybody_gets_the_same(self, fitted: PopularityRecommender, data: TrainingSet) -> None:
        scores = fitted.score(np.arange(data.n_users))
        assert (scores == scores[0]).all()


def _scores(data: TrainingSet, **config: float | None) -> dict[str, float]:
    scores = popularity(data, PopularityConfig(**{"half_life_days": None, **config}))  # type: ignore[arg-type]
    assert scores.dtype == np.float32
    return {item: round(float(score), 6) for item, score in zip(data.item_ids, scores, strict=True) if score}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, {"i00": 2.0, "i01": 1.0}),
        ({"half_life_days": 2.0}, {"i00": 0.25 + 0.5, "i01": round(0.5**0.5, 6)}),
        ({"window_days": 2.0}, {"i00": 1.0, "i01": 1.0}),
        ({"last_events": 3}, {"i00": 1.0, "i01": 1.0}),
    ],
)
def test_counts_by_hand(config: dict[str, float | None], expected: dict[str, float]) -> None:
    assert _scores(tiny_world.training_set(ROWS), **config) == expected


def test_days_mean_nothing_without_a_clock() -> None:
    frame = tiny_world.interactions(ROWS)
    data = build_training_set(frame, tiny_world.items(), as_of=AS_OF, has_clock=False)
    assert _scores(data, half_life_days=1.0, window_days=1.0) == {"i00": 2.0, "i01": 1.0}


def test_a_view_and_a_purchase_at_one_time_count_once_by_the_heavier() -> None:
    twice = pl.concat(
        [tiny_world.interactions(ROWS[:1]).with_columns(event=pl.lit(event)) for event in ("view", "purchase", "view")]
    )
    weights = {"purchase": 3.0, "view": 0.5}
    data = build_training_set(twice, tiny_world.items(), as_of=AS_OF, event_weights=weights)
    assert _scores(data) == {"i00": 3.0}


@pytest.mark.parametrize("wrong", [{"half_life_days": 0}, {"window_days": -1}, {"last_events": 0}, {"half_lives": 1}])
def test_a_setting_that_means_nothing_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        PopularityConfig(**wrong)  # type: ignore[arg-type]


def test_popular_lists_overall_and_by_category() -> None:
    data = tiny_world.training_set()
    scores = np.zeros(data.n_items, dtype=np.float32)
    where = data.item_positions(pl.Series(["i00", "i01", "i02", tiny_world.GONE, "i07", tiny_world.BLANK]))
    scores[where] = [1, 3, 1, 9, 2, 1]
    found = popular_lists(scores, data, tiny_world.items(), k=3)
    expected = [
        ("", "i01", 1, 3.0), ("", "i07", 2, 2.0), ("", "i00", 3, 1.0),
        ("first", "i01", 1, 3.0), ("first", "i00", 2, 1.0), ("first", "i02", 3, 1.0), ("second", "i07", 1, 2.0),
    ]  # fmt: skip
    schema = {"category": pl.String, "item_id": pl.String, "rank": pl.UInt32, "score": pl.Float32}
    assert_frame_equal(PopularItems.validate(found), pl.DataFrame(expected, schema=schema, orient="row"))
