"""Scoring by hand on five items: candidates, blend, order, reasons."""

from datetime import UTC, datetime

import numpy as np
import pytest

from genre_pipeline.serving.published import PublishedRun, SeenItems
from genre_pipeline.serving.scorer import EMPTY_LIST, PublishedList, UserState, popular_now, published_now, score_now
from genre_pipeline.serving.settings import ServingConfig

NOBODY = SeenItems({}, np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int32))
NOTHING = np.zeros(0, dtype=np.int64)


def run() -> PublishedRun:
    vectors = np.array([[1, 0], [0.6, 0.8], [0, 1], [-1, 0], [0, 0]], dtype=np.float32)
    popularity = np.array([0.1, 0.2, 0.2, 1.0, 0.5], dtype=np.float32)
    item_ids = ["a", "b", "c", "d", "e"]
    return PublishedRun(
        run_id="r",
        as_of=datetime(2024, 1, 1, tzinfo=UTC),
        item_ids=item_ids,
        positions={item: at for at, item in enumerate(item_ids)},
        titles=[item.upper() for item in item_ids],
        media={"image": [None] * 5, "audio": [None] * 5},
        is_candidate=np.array([True, True, True, True, False]),
        vectors=vectors,
        norms=np.linalg.norm(vectors, axis=1),
        vector_model="m",
        vectors_problem=None,
        popularity=popularity,
        popular_order=np.array([3, 1, 2, 0]),
        seen=NOBODY,
    )


def user(*history: int, vector: tuple[float, float] = (2.0, 0.0)) -> UserState:
    seen = np.array(history, dtype=np.int64)
    return UserState(seen, seen, ["purchase"] * len(history), np.array(vector, dtype=np.float32))


def test_blend_is_the_weighted_mean_of_its_parts() -> None:
    config = ServingConfig(weight_published=2, weight_vector=1, weight_popularity=1)
    listed = PublishedList(np.array([2, 1]), np.array([9.0, 3.0], dtype=np.float32))
    chosen = score_now(run(), user(0), listed, 3, config)
    # c: (2 * 1 + 0 + .2) / 4, b: (2 * .5 + .6 + .2) / 4, d: (0 - 1 + 1) / 4
    assert chosen.positions.tolist() == [2, 1, 3]
    assert chosen.scores.tolist() == pytest.approx([0.55, 0.45, 0.0])
    assert chosen.reasons == [
        ["in your nightly list", "popular now"],
        ["because you bought A", "in your nightly list", "popular now"],
        ["popular now"],
    ]


def test_length_of_the_user_vector_does_not_matter() -> None:
    listed = EMPTY_LIST
    short = score_now(run(), user(vector=(0.1, 0.1)), listed, 4, ServingConfig())
    long = score_now(run(), user(vector=(10.0, 10.0)), listed, 4, ServingConfig())
    assert short.scores.tolist() == pytest.approx(long.scores.tolist())


def test_few_candidates_of_each_kind_still_fill_the_list() -> None:
    config = ServingConfig(candidates_published=0, candidates_nearest=0, candidates_popular=0)
    chosen = score_now(run(), user(), EMPTY_LIST, 4, config)
    assert sorted(chosen.positions.tolist()) == [0, 1, 2, 3]
    assert all(chosen.reasons)


def test_nearest_are_cut_to_the_closest() -> None:
    config = ServingConfig(
        candidates_nearest=1, candidates_popular=0, weight_published=0, weight_vector=1, weight_popularity=0
    )
    assert score_now(run(), user(), EMPTY_LIST, 1, config).positions.tolist() == [0]


def test_published_keeps_its_order_and_fills_up_below() -> None:
    listed = PublishedList(np.array([2, 0, 1]), np.array([5.0, 4.0, 1.0], dtype=np.float32))
    chosen = published_now(run(), user(0), listed, 4, ServingConfig())
    assert chosen.positions.tolist() == [2, 1, 3]
    assert chosen.scores.tolist() == pytest.approx([1.0, 1 / 3, 1 / 3])
    assert chosen.popularity.tolist() == pytest.approx([0, 0, 1 / 3])


def test_popular_by_popularity_then_by_id() -> None:
    assert popular_now(run(), NOTHING, 10).positions.tolist() == [3, 1, 2, 0]
    assert popular_now(run(), np.array([3]), 2).positions.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("scores", "scaled"),
    [([], []), ([3.0], [1.0]), ([2.0, 2.0], [1.0, 1.0]), ([4.0, 3.0, 2.0, 0.0], [1, 0.8125, 0.625, 0.25])],
)
def test_published_scores_are_scaled_within_the_list(scores: list[float], scaled: list[float]) -> None:
    listed = PublishedList(np.arange(len(scores)), np.array(scores, dtype=np.float32))
    assert listed.scaled.tolist() == pytest.approx(scaled)
