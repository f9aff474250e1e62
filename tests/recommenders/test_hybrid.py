import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders.base import Recommender
from genre_pipeline.recommenders.blending import BlendWeights, calibrate, shown_to
from genre_pipeline.recommenders.content import ContentConfig, ContentRecommender
from genre_pipeline.recommenders.ease import EaseConfig, EaseRecommender
from genre_pipeline.recommenders.hybrid import HybridConfig, HybridRecommender
from genre_pipeline.recommenders.popularity import PopularityConfig, PopularityRecommender
from tests.recommenders import tiny_world
from tests.recommenders.recommender_contract import PersonalContract

WEIGHTS = BlendWeights(parts=("ease", "content"), edges=(4,), weights=((1.0, 0.0), (0.75, 0.25)))


class RefitsItsParts(HybridRecommender):
    """The contract fits on other data, where a hybrid's parts have to be fitted too."""

    def fit(self, data: TrainingSet, *, seed: int) -> "RefitsItsParts":
        for part in self.parts.values():
            part.fit(data, seed=seed)
        super().fit(data, seed=seed)
        return self


class TestHybrid(PersonalContract):
    @pytest.fixture
    def recommender(self) -> Recommender:
        parts = {"ease": EaseRecommender(EaseConfig()), "content": ContentRecommender(ContentConfig())}
        return RefitsItsParts(parts, WEIGHTS)

    def test_a_weighted_sum_of_calibrated_scores(self, fitted: HybridRecommender, data: TrainingSet) -> None:
        users = np.arange(data.n_users)
        ease, content = (calibrate(part.blend_score(users), shown_to(data, users)) for part in fitted.parts.values())
        np.testing.assert_allclose(fitted.score(users), 0.75 * ease + 0.25 * content, rtol=1e-6)

    def test_contributions_add_up_to_the_score(self, fitted: HybridRecommender, data: TrainingSet) -> None:
        users = np.array([3, 0])
        items = np.array([[0, 1, 12], [6, 7, 12]])
        given = fitted.contributions(users, items)
        assert given.shape == (2, 3, 2)
        total = np.take_along_axis(fitted.score(users), items, axis=1)
        np.testing.assert_allclose(given.sum(axis=2), total, rtol=1e-6)

    def test_a_part_without_weight_is_not_asked(self, data: TrainingSet) -> None:
        rows = [row for row in tiny_world.rows() if row[1] in {"i00", "i01", "i06", "i07"}]
        short = tiny_world.training_set(rows)
        unfitted = {"ease": EaseRecommender(EaseConfig()).fit(short, seed=0), "content": _Untouchable()}
        scores = HybridRecommender(unfitted, WEIGHTS).fit(short, seed=0).score(np.arange(short.n_users))
        assert scores.shape == (short.n_users, short.n_items)


def test_an_item_nobody_has_had_is_as_popular_as_content_expects_and_known_items_stay() -> None:
    data = tiny_world.training_set(tiny_world.rows())
    parts = {
        "popularity": PopularityRecommender(PopularityConfig()).fit(data, seed=0),
        "content": ContentRecommender(ContentConfig()).fit(data, seed=0),
    }
    weights = BlendWeights(parts=("popularity", "content"), weights=((1.0, 0.0),))
    users = np.arange(data.n_users)
    scores = HybridRecommender(parts, weights).fit(data, seed=0).score(users)
    alone = calibrate(parts["popularity"].score(users), shown_to(data, users))
    had = np.asarray(data.matrix.sum(axis=0)).ravel() > 0
    new, blank = data.item_positions(pl.Series([tiny_world.NEW, tiny_world.BLANK]))
    np.testing.assert_array_equal(scores[:, had], alone[:, had])
    assert (alone[:, new] == 0).all()
    assert (scores[:, new] > 0).any()
    assert (scores[:, blank] == 0).all()


class _Untouchable(ContentRecommender):
    def __init__(self) -> None:
        super().__init__(ContentConfig())

    def blend_score(self, users: np.ndarray) -> np.ndarray:
        raise AssertionError("a part of no weight was asked")


def test_an_item_that_may_be_shown_gets_its_parts_scores() -> None:
    """Cold items are judged by opening the candidates: a hybrid fitted on the opened data has to rank them."""
    closed = tiny_world.training_set()
    closed = TrainingSet(**{**_fields(closed), "is_candidate": closed.is_candidate & ~_is(closed, tiny_world.NEW)})
    content = ContentRecommender(ContentConfig()).fit(closed, seed=0)
    weights = BlendWeights(parts=("content",), weights=((1.0,),))
    new = int(np.flatnonzero(_is(closed, tiny_world.NEW))[0])
    assert HybridRecommender({"content": content}, weights).fit(closed, seed=0).score(np.array([0]))[0, new] == 0
    opened = TrainingSet(**{**_fields(closed), "is_candidate": np.ones(closed.n_items, dtype=bool)})
    scores = HybridRecommender({"content": content}, weights).fit(opened, seed=0).score(np.array([0]))
    assert scores[0, new] == scores[0].max() > 0.9


def _fields(data: TrainingSet) -> dict[str, object]:
    return {name: getattr(data, name) for name in TrainingSet.__dataclass_fields__}


def _is(data: TrainingSet, item: str) -> np.ndarray:
    return np.asarray((data.item_ids == item).to_numpy())


@pytest.mark.parametrize("edges", [(6, 6), (21, 6), (0,)])
def test_segments_that_hold_nobody_are_refused(edges: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="segment_edges"):
        HybridConfig(segment_edges=edges)
    assert pl.Series(HybridConfig().segment_edges).is_sorted()
