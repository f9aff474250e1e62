"""The nightly lists under rules: variants, the holdout, cold users, and the reasons that rules give."""

import numpy as np
import polars as pl
import pytest

from genre_pipeline.contracts.tables import Recommendations
from genre_pipeline.contracts.training_set import TrainingSet, build_training_set
from genre_pipeline.recommenders.base import recommend
from genre_pipeline.recommenders.ease import EaseConfig, EaseRecommender
from genre_pipeline.recommenders.popularity import PopularityConfig, popularity
from genre_pipeline.recommenders.ruled_lists import (
    DRAWN_REASON,
    PINNED_REASON,
    POPULAR_REASON,
    RuledNight,
    ruled_lists,
    with_said_reasons,
)
from genre_pipeline.recommenders.rules import RulesConfig
from genre_pipeline.recommenders.variants import variants_of
from tests.recommenders import tiny_world

PAST = tiny_world.interactions(tiny_world.rows())


@pytest.fixture(scope="module")
def data() -> TrainingSet:
    return tiny_world.training_set()


def lists(data: TrainingSet, k: int = 5, **rules: object) -> pl.DataFrame:
    config = RulesConfig.model_validate(rules)
    night = RuledNight(config, tiny_world.items(), np.eye(data.n_items, dtype=np.float32), 20, PAST)
    recommender = EaseRecommender(EaseConfig(regularisation=5.0)).fit(data, seed=0)
    popular = popularity(data, PopularityConfig())
    return ruled_lists(recommender, data, pl.Series([*data.user_ids, "nobody"]), night, k=k, popular=popular)


def plain(data: TrainingSet, k: int = 5) -> pl.DataFrame:
    recommender = EaseRecommender(EaseConfig(regularisation=5.0)).fit(data, seed=0)
    asked = pl.Series("user_id", [*data.user_ids, "nobody"])
    popular = popularity(data, PopularityConfig())
    return recommend(recommender, data, asked, k=k, cold_users="popular", popular=popular)


def test_the_default_rules_give_the_plain_lists(data: TrainingSet) -> None:
    ruled = lists(data)
    assert ruled.drop("variant", "says").equals(plain(data))
    assert ruled["variant"].unique().to_list() == ["default"]
    assert ruled["says"].null_count() == ruled.height


def test_variants_keep_their_own_rules_and_the_holdout_gets_what_is_popular(data: TrainingSet) -> None:
    arms = {"holdout_share": 0.3, "variants": [{"name": "pins", "share": 0.4, "rules": {"pinned": ["i91"]}}]}
    ruled = Recommendations.validate(lists(data, **arms), cast=True)
    found = lists(data, **arms)
    users = [*data.user_ids, "nobody"]
    of_user = dict(found.group_by("user_id").agg(pl.col("variant").unique()).rows())
    expected = dict(zip(users, variants_of(users, RulesConfig.model_validate(arms)), strict=True))
    assert of_user == {user: [variant] for user, variant in expected.items()}
    assert set(expected.values()) == {"holdout", "pins", "default"}
    first = found.filter(rank=1)
    assert set(first.filter(variant="pins")["item_id"]) == {"i91"}
    assert set(found.filter(variant="holdout")["says"]) == {POPULAR_REASON}
    rest = found.filter(variant="default").drop("variant", "says")
    assert rest.equals(plain(data).filter(pl.col("user_id").is_in(rest["user_id"].unique().implode())))
    assert ruled.height == found.height


def test_repeats_are_items_of_the_users_own_past(data: TrainingSet) -> None:
    found = lists(data, repeats={"least": 1, "most": 2})
    past = tiny_world.interactions(tiny_world.rows()).select("user_id", "item_id").unique()
    had = found.join(past, on=["user_id", "item_id"], how="semi").group_by("user_id").len()
    assert set(had["user_id"]) == set(data.user_ids)
    assert had["len"].is_between(1, 2).all()
    assert lists(data).join(past, on=["user_id", "item_id"], how="semi").is_empty()


def test_reasons_of_the_rules_take_the_place_of_others(data: TrainingSet) -> None:
    found = lists(data, pinned=["i91"], exploration_share=0.2)
    reasoned = with_said_reasons(found.with_columns(reasons=pl.lit(["by score"])))
    assert reasoned.columns == ["user_id", "item_id", "rank", "score", "variant", "reasons"]
    said = set(reasoned.explode("reasons")["reasons"])
    assert said == {PINNED_REASON, DRAWN_REASON, "by score"}
    assert set(reasoned.filter(item_id="i91", rank=1)["reasons"].explode()) == {PINNED_REASON}


def test_without_the_filter_unavailable_items_are_listed(data: TrainingSet) -> None:
    assert tiny_world.GONE not in set(lists(data, k=14, banned=["i00"])["item_id"])
    assert tiny_world.GONE in set(lists(data, k=14, filters={"available_only": False})["item_id"])


def test_without_the_filter_what_is_not_published_yet_stays_out(data: TrainingSet) -> None:
    tomorrow = pl.lit(tiny_world.AS_OF, pl.Datetime("us", "UTC"))
    later = (
        pl.when(pl.col("item_id") == tiny_world.BLANK).then(tomorrow).otherwise("published_at").alias("published_at")
    )
    items = tiny_world.items().with_columns(later)
    known = build_training_set(tiny_world.interactions(tiny_world.rows()), items, as_of=tiny_world.AS_OF)
    config = RulesConfig.model_validate({"filters": {"available_only": False}, "pinned": [tiny_world.BLANK]})
    night = RuledNight(config, items, np.eye(known.n_items, dtype=np.float32), 20, PAST)
    recommender = EaseRecommender(EaseConfig(regularisation=5.0)).fit(known, seed=0)
    popular = popularity(known, PopularityConfig())
    found = set(ruled_lists(recommender, known, known.user_ids, night, k=14, popular=popular)["item_id"])
    assert tiny_world.GONE in found
    assert tiny_world.BLANK not in found


def test_nobody_asked_for(data: TrainingSet) -> None:
    night = RuledNight(
        RulesConfig(banned=("x",)), tiny_world.items(), np.zeros((data.n_items, 1), np.float32), 20, PAST
    )
    popular = popularity(data, PopularityConfig())
    recommender = EaseRecommender(EaseConfig()).fit(data, seed=0)
    nobody = ruled_lists(recommender, data, pl.Series([], dtype=pl.String), night, k=3, popular=popular)
    assert nobody.is_empty()
