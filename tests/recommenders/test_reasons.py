import numpy as np
import polars as pl
import pytest

from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders import reasons
from genre_pipeline.recommenders.base import recommend
from genre_pipeline.recommenders.blending import BlendWeights
from genre_pipeline.recommenders.ease import EaseConfig, EaseRecommender
from genre_pipeline.recommenders.hybrid import HybridRecommender
from genre_pipeline.recommenders.popularity import PopularityConfig, PopularityRecommender
from genre_pipeline.recommenders.reasons import BY_PART, COLD, REST, ReasonsConfig, with_reasons
from genre_pipeline.recommenders.suite import NAMES, popular_scores
from tests.recommenders import tiny_world

TASTE = BY_PART["ease"]


@pytest.fixture(scope="module")
def data() -> TrainingSet:
    return tiny_world.training_set()


@pytest.fixture(scope="module")
def hybrid(data: TrainingSet) -> HybridRecommender:
    parts = {
        "popularity": PopularityRecommender(PopularityConfig()).fit(data, seed=0),
        "ease": EaseRecommender(EaseConfig(regularisation=5.0)).fit(data, seed=0),
    }
    weights = BlendWeights(parts=("popularity", "ease"), weights=((0.2, 0.8),))
    return HybridRecommender(parts, weights).fit(data, seed=0)


def _lists(hybrid: HybridRecommender, data: TrainingSet, *users: str, k: int = 10) -> pl.DataFrame:
    popular = popular_scores(hybrid.parts)
    asked = pl.Series("user_id", users or data.user_ids.to_list())
    return recommend(hybrid, data, asked, k=k, cold_users="popular", popular=popular)


def _reasons(lists: pl.DataFrame, hybrid: HybridRecommender, data: TrainingSet, **config: object) -> pl.DataFrame:
    return with_reasons(lists, hybrid, data, tiny_world.items(), ReasonsConfig(**config))  # type: ignore[arg-type]


def test_never_empty_and_nothing_else_changes(hybrid: HybridRecommender, data: TrainingSet) -> None:
    lists = _lists(hybrid, data, *data.user_ids, "nobody")
    found = _reasons(lists, hybrid, data)
    assert found.drop("reasons").equals(lists)
    assert found.schema["reasons"] == pl.List(pl.String)
    assert found["reasons"].list.len().min() == 1
    assert found["reasons"].list.max().null_count() == 0
    assert found["reasons"].list.eval(pl.element().str.len_chars()).list.min().min() > 0


def test_the_nearest_item_of_the_history_then_what_carried_the_score(
    hybrid: HybridRecommender, data: TrainingSet
) -> None:
    found = _reasons(_lists(hybrid, data, "u02"), hybrid, data)
    reasons_of = dict(found.select("item_id", "reasons").iter_rows())
    # u02 has had i01 to i04. i00 is of the same crowd: all are alike near, the smaller id is named.
    assert reasons_of["i00"] == ["Because you took “Title i01”", TASTE]
    assert reasons_of["i90"][0] == "Because you took “Title i01”"
    assert all(not reasons_of[f"i{number:02d}"][0].startswith("Because") for number in range(6, 12))
    # Nobody took it and it has no content: no part says anything for it.
    assert reasons_of["i91"] == [REST]


@pytest.mark.parametrize(("at_least", "is_named"), [(0.95, True), (0.97, False)])
def test_named_only_above_the_similarity(
    hybrid: HybridRecommender, data: TrainingSet, at_least: float, is_named: bool
) -> None:
    # Two items of a crowd: 1 / 1.04 = 0.9615.
    found = _reasons(_lists(hybrid, data, "u02", k=1), hybrid, data, min_similarity=at_least)
    assert found["reasons"][0].to_list()[0].startswith("Because you took") is is_named


def test_only_the_newest_items_are_compared(hybrid: HybridRecommender, data: TrainingSet) -> None:
    found = _reasons(_lists(hybrid, data, "u02", k=1), hybrid, data, history=1)
    assert found["reasons"][0].to_list() == ["Because you took “Title i04”", TASTE]


def test_cold_users_are_told_so(hybrid: HybridRecommender, data: TrainingSet) -> None:
    found = _reasons(_lists(hybrid, data, "nobody", k=2), hybrid, data)
    assert found["reasons"].to_list() == [[COLD], [COLD]]


def test_without_vectors_the_strongest_part_is_named(hybrid: HybridRecommender, data: TrainingSet) -> None:
    blind = tiny_world.training_set(with_vectors=False)
    found = _reasons(_lists(hybrid, data, "u02", k=1), hybrid, blind)
    assert found["reasons"].to_list() == [[TASTE]]


def test_an_item_without_a_title_is_not_named(hybrid: HybridRecommender, data: TrainingSet) -> None:
    nameless = tiny_world.items().with_columns(title=pl.lit(None, pl.String))
    found = with_reasons(_lists(hybrid, data, "u02", k=1), hybrid, data, nameless, ReasonsConfig())
    assert found["reasons"].to_list() == [[TASTE]]


def test_no_lists_no_reasons(hybrid: HybridRecommender, data: TrainingSet) -> None:
    found = _reasons(_lists(hybrid, data).clear(), hybrid, data)
    assert found.shape == (0, 5)


def test_blocks_of_pairs_and_users_change_nothing(
    hybrid: HybridRecommender, data: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = _lists(hybrid, data)
    whole = _reasons(lists, hybrid, data)
    monkeypatch.setattr(reasons, "PAIR_BLOCK", 7)
    assert _reasons(lists, hybrid, data).equals(whole)
    one_by_one = pl.concat([_reasons(part, hybrid, data) for part in lists.partition_by("user_id")])
    assert one_by_one.equals(whole)


def test_every_recommender_has_words() -> None:
    assert set(BY_PART) == set(NAMES)
    assert np.all([len(words) > 10 for words in BY_PART.values()])
