"""Scoring by hand on five items: candidates, blend, order, reasons."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from genre_pipeline.features.nearest import NearestSearch
from genre_pipeline.recommenders.rules import ListRules, compile_rules
from genre_pipeline.serving.choosing import Scored
from genre_pipeline.serving.ladder import Ask, choose
from genre_pipeline.serving.published import PublishedRun, SeenItems
from genre_pipeline.serving.scorer import EMPTY_LIST, PublishedList, UserState, real_time_pool
from genre_pipeline.serving.settings import ServingConfig

NOBODY = SeenItems({}, np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int32))
NOTHING = np.zeros(0, dtype=np.int64)
SEED = np.zeros(1, dtype=np.uint64)


def run(**rules: object) -> PublishedRun:
    """a to e; d and c are popular, e is not available."""
    vectors = np.array([[1, 0], [0.6, 0.8], [0, 1], [-1, 0], [0, 0]], dtype=np.float32)
    popularity = np.array([0.1, 0.2, 0.2, 1.0, 0.5], dtype=np.float32)
    item_ids = ["a", "b", "c", "d", "e"]
    is_candidate, exists = np.array([True, True, True, True, False]), np.ones(5, dtype=bool)
    items = pl.DataFrame(
        {
            "item_id": item_ids,
            "available": is_candidate,
            "categories": [["x"], ["x"], ["y"], ["y"], ["y"]],
            "published_at": pl.Series([None] * 5, dtype=pl.Datetime("us", "UTC")),
        }
    )
    compiled = compile_rules(
        ListRules.model_validate(rules),
        items,
        items["item_id"],
        as_of=datetime(2024, 1, 1, tzinfo=UTC),
        vectors=vectors,
    )
    return PublishedRun(
        run_id="r",
        as_of=datetime(2024, 1, 1, tzinfo=UTC),
        item_ids=item_ids,
        positions={item: at for at, item in enumerate(item_ids)},
        titles=[item.upper() for item in item_ids],
        media={"image": [None] * 5, "audio": [None] * 5},
        is_candidate=is_candidate,
        vectors=vectors,
        norms=np.linalg.norm(vectors, axis=1),
        vector_model="m",
        vectors_problem=None,
        popularity=popularity,
        popular_order=np.array([3, 4, 1, 2, 0]),
        seen=NOBODY,
        counts=popularity.astype(np.float64),
        exists=exists,
        categories=np.array([[0], [0], [1], [1], [1]], dtype=np.int32),
        category_numbers={"x": 0, "y": 1},
        rules={"default": compiled},
        search=NearestSearch(vectors, exists),
        model_version="model-1",
    )


def user(*history: int, vector: tuple[float, float] | None = (2.0, 0.0)) -> UserState:
    seen = np.array(history, dtype=np.int64)
    return UserState(
        seen, seen, ["purchase"] * len(history), None if vector is None else np.array(vector, dtype=np.float32)
    )


def chosen_by(
    who: UserState, listed: PublishedList, k: int, config: ServingConfig, **wishes: object
) -> tuple[str, Scored]:
    ask = replace(Ask(k=k), **wishes)  # type: ignore[arg-type]
    choice = choose(run(), who, listed, ask, config, rules=run().rules["default"], seed=SEED)
    return choice.strategy, choice.chosen


def score_now(who: UserState, listed: PublishedList, k: int, config: ServingConfig) -> Scored:
    strategy, chosen = chosen_by(who, listed, k, config)
    assert strategy == "real-time"
    return chosen


def test_blend_is_the_weighted_mean_of_its_parts() -> None:
    config = ServingConfig(weight_published=2, weight_vector=1, weight_popularity=1)
    listed = PublishedList(np.array([2, 1]), np.array([9.0, 3.0], dtype=np.float32))
    chosen = score_now(user(0), listed, 3, config)
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
    short = score_now(user(vector=(0.1, 0.1)), listed, 4, ServingConfig())
    long = score_now(user(vector=(10.0, 10.0)), listed, 4, ServingConfig())
    assert short.scores.tolist() == pytest.approx(long.scores.tolist())


def test_few_candidates_of_each_kind_still_fill_the_list() -> None:
    config = ServingConfig(candidates_published=0, candidates_nearest=0, candidates_popular=0)
    chosen = score_now(user(), EMPTY_LIST, 4, config)
    assert sorted(chosen.positions.tolist()) == [0, 1, 2, 3]
    assert all(chosen.reasons)


def test_nearest_are_cut_to_the_closest() -> None:
    config = ServingConfig(
        candidates_nearest=1, candidates_popular=0, weight_published=0, weight_vector=1, weight_popularity=0
    )
    assert score_now(user(), EMPTY_LIST, 1, config).positions.tolist() == [0]


def test_items_near_to_the_latest_of_the_history_are_candidates_too() -> None:
    away = user(2, vector=(-0.6, -0.8))
    allowed = np.array([True, True, False, True, False])
    for latest, expected in ((3, [1]), (0, [3])):
        config = ServingConfig(candidates_nearest=1, nearest_to_latest=latest)
        assert real_time_pool(run(), away, EMPTY_LIST, allowed, 1, config).near.tolist() == expected


def test_published_keeps_its_order_and_fills_up_below() -> None:
    listed = PublishedList(np.array([2, 0, 1]), np.array([5.0, 4.0, 1.0], dtype=np.float32))
    strategy, chosen = chosen_by(user(0, vector=None), listed, 4, ServingConfig())
    assert strategy == "published"
    assert chosen.positions.tolist() == [2, 1, 3]
    assert chosen.scores.tolist() == pytest.approx([1.0, 1 / 3, 1 / 3])
    assert chosen.parts[2].tolist() == pytest.approx([0, 0, 1 / 3])


def test_without_a_vector_and_a_list_what_is_similar_to_the_history() -> None:
    strategy, chosen = chosen_by(user(0, vector=None), EMPTY_LIST, 3, ServingConfig())
    assert (strategy, chosen.positions.tolist()) == ("similar", [1, 3, 2])
    assert chosen.scores[0] == pytest.approx(0.6)


def test_without_near_items_what_is_popular_in_the_categories_of_the_history() -> None:
    strategy, chosen = chosen_by(user(4, vector=None), EMPTY_LIST, 3, ServingConfig())
    assert (strategy, chosen.positions.tolist()) == ("popular-in-category", [3, 2, 1])


def test_popular_by_popularity_then_by_id() -> None:
    assert chosen_by(user(vector=None), EMPTY_LIST, 10, ServingConfig())[1].positions.tolist() == [3, 1, 2, 0]
    everything = chosen_by(user(vector=None), EMPTY_LIST, 10, ServingConfig(), available_only=False)
    assert everything[1].positions.tolist() == [3, 4, 1, 2, 0]


@pytest.mark.parametrize(
    ("scores", "scaled"),
    [([], []), ([3.0], [1.0]), ([2.0, 2.0], [1.0, 1.0]), ([4.0, 3.0, 2.0, 0.0], [1, 0.8125, 0.625, 0.25])],
)
def test_published_scores_are_scaled_within_the_list(scores: list[float], scaled: list[float]) -> None:
    listed = PublishedList(np.arange(len(scores)), np.array(scores, dtype=np.float32))
    assert listed.scaled.tolist() == pytest.approx(scaled)
