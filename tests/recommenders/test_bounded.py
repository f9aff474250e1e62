"""Whatever stands in the enriched scores, no item leaves the bound around its place without generation."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from genre_pipeline.contracts.training_set import TrainingSet, enrich
from genre_pipeline.recommenders.base import Recommender, recommend, top_k
from genre_pipeline.recommenders.blending import BlendWeights
from genre_pipeline.recommenders.bounded import BoundedRecommender, clamped, reopened
from genre_pipeline.recommenders.content import ContentConfig, ContentRecommender
from genre_pipeline.recommenders.suite import HYBRID, RecommendersConfig, Tuned, fit_suite
from tests.recommenders import tiny_world as world

SCORES = st.sampled_from([-np.inf, -2.0, 0.0, 0.5, 0.5000001, 1.0, 3e30])
SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 25))


def places(scores: np.ndarray) -> np.ndarray:
    """int64 [users, items]: each item's place, from 0; -1 where it is no candidate."""
    order, best = top_k(scores, scores.shape[1])
    found = np.full(scores.shape, -1)
    np.put_along_axis(found, order, np.where(np.isfinite(best), np.arange(scores.shape[1]), -1), axis=1)
    return found


@settings(max_examples=200, deadline=None)
@given(data=st.data(), shape=SHAPES, bound=st.integers(0, 6), depth=st.integers(1, 30))
def test_no_item_leaves_its_bound(data: st.DataObject, shape: tuple[int, int], bound: int, depth: int) -> None:
    plain = data.draw(arrays(np.float32, shape, elements=SCORES.map(np.float32)))
    enriched = data.draw(arrays(np.float32, shape, elements=SCORES.map(np.float32)))
    before, after = places(plain), places(clamped(plain, enriched, bound, depth))
    assert ((before < 0) == (after < 0)).all()
    assert np.abs(before - after).max() <= bound


def test_within_the_bound_the_enriched_order_is_followed() -> None:
    plain = np.arange(10, 0, -1, dtype=np.float32)[None]
    assert places(clamped(plain, plain[:, ::-1], 9)).tolist() == [list(range(9, -1, -1))]
    assert places(clamped(plain, plain[:, ::-1], 0)).tolist() == [list(range(10))]
    assert places(clamped(plain, plain.copy(), 3)).tolist() == [list(range(10))]
    praised = np.zeros((1, 10), np.float32)
    praised[0, 7] = 1
    assert places(clamped(plain, praised, 3))[0, 7] == 4


def test_depth_ends_what_generation_orders() -> None:
    plain = np.arange(10, 0, -1, dtype=np.float32)[None]
    after = places(clamped(plain, plain[:, ::-1], 2, depth=3))
    assert after.tolist() == [[2, 3, 0, 1, 4, 5, 6, 7, 8, 9]]


class _Fixed(Recommender):
    name = "fixed"

    def __init__(self, scores: np.ndarray) -> None:
        self.scores, self.config = scores, ContentConfig()

    def fit(self, data: TrainingSet, *, seed: int) -> "_Fixed":
        return self

    def score(self, users: np.ndarray) -> np.ndarray:
        return self.scores[users].copy()


def test_places_are_counted_among_what_may_be_shown() -> None:
    data = world.training_set()
    ascending = np.tile(np.arange(data.n_items, dtype=np.float32), (data.n_users, 1))
    for bound in (0, 2):
        part = BoundedRecommender(_Fixed(-ascending), _Fixed(ascending), bound).fit(data, seed=0)
        plain = _lists(_Fixed(-ascending), data)
        moved = _lists(part, data).join(plain, on=["user_id", "item_id"], how="full")
        shift = (moved["rank"].cast(pl.Int64) - moved["rank_right"].cast(pl.Int64)).abs()
        assert shift.null_count() == 0
        assert shift.max() == bound


def _lists(part: Recommender, data: TrainingSet) -> pl.DataFrame:
    popular = np.zeros(data.n_items, dtype=np.float32)
    return recommend(part, data, data.user_ids, k=data.n_items, cold_users="omit", popular=popular)


@pytest.fixture
def tuned() -> Tuned:
    parts = ("popularity", "content", "item_knn", "ease")
    config = RecommendersConfig()
    weights = BlendWeights(parts=parts, edges=(), weights=((0.1, 0.5, 0.2, 0.2),))
    return Tuned({name: getattr(config, name) for name in parts}, weights, None, pl.DataFrame())


def enriched(*, max_rank_shift: int = 2) -> TrainingSet:
    data = world.training_set()
    synthetic = pl.DataFrame({"user_id": ["u00", "u01"], "item_id": ["i90", "i90"], "weight": [0.3, 0.3]})
    profile = world.vectors().filter(pl.col("item_id") == "i07").select(pl.lit("u02").alias("user_id"), "vector")
    return enrich(
        data,
        max_rank_shift=max_rank_shift,
        profile_vectors={"text_llm": profile},
        synthetic=synthetic.with_columns(pl.col("weight").cast(pl.Float32)),
    )


def test_what_generation_does_not_change_is_the_same_object_and_the_rest_is_bounded(tuned: Tuned) -> None:
    parts = fit_suite(enriched(), tuned, seed=0, say=lambda line: None)
    kinds = {name: isinstance(part, BoundedRecommender) for name, part in parts.items()}
    assert kinds == {"popularity": False, "content": True, "item_knn": True, "ease": True, HYBRID: True}


def test_a_users_own_generation_changes_nobody_elses_list(tuned: Tuned) -> None:
    plain = fit_suite(world.training_set(), tuned, seed=0, say=lambda line: None)
    rich = fit_suite(enriched(max_rank_shift=9), tuned, seed=0, say=lambda line: None)
    data = world.training_set()
    for name in plain:
        before, after = _lists(plain[name], data), _lists(rich[name], data)
        keys = ["user_id", "rank"]
        changed = before.join(after, on=keys).filter(pl.col("item_id") != pl.col("item_id_right"))["user_id"].unique()
        assert set(changed) <= {"u00", "u01", "u02"}, name
    content = _lists(rich["content"], data).filter(pl.col("user_id") == "u02")
    assert not content.equals(_lists(plain["content"], data).filter(pl.col("user_id") == "u02"))


def test_a_synthetic_item_is_not_seen_and_one_that_the_user_has_had_is_left_out() -> None:
    data = world.training_set()
    had = world.item_of(0, 0)
    rows = pl.DataFrame({"user_id": ["u00", "u00", "nobody"], "item_id": ["i90", had, "i90"], "weight": [0.3] * 3})
    rich = enrich(data, max_rank_shift=1, synthetic=rows.with_columns(pl.col("weight").cast(pl.Float32))).enrichment
    assert rich is not None
    assert rich.data.synthetic is not None
    assert rich.data.synthetic.nnz == 1
    assert (rich.data.matrix != data.matrix).nnz == 0


def test_reopened_shows_other_candidates_and_leaves_the_part_alone(tuned: Tuned) -> None:
    data = enriched()
    parts = fit_suite(data, tuned, seed=0, say=lambda line: None)
    opened = replace(data, is_candidate=np.ones(data.n_items, dtype=bool))
    again = reopened(parts[HYBRID], opened)
    assert world.GONE in _lists(again, opened)["item_id"]
    assert world.GONE not in _lists(parts[HYBRID], data)["item_id"]


def test_content_without_profiles_is_what_it_was() -> None:
    data = world.training_set()
    part = ContentRecommender(ContentConfig()).fit(data, seed=0)
    users = np.arange(data.n_users)
    assert np.array_equal(part.enriched(data).score(users), part.score(users))
