"""The last step of the core: the same lists as ever under the default rules, and what rules change."""

import polars as pl
import pytest

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.offline.personal_lists import personal_lists, plain_lists, repeats_beyond, rules_of
from genre_pipeline.recommenders.base import Recommender, recommend
from genre_pipeline.recommenders.blending import BlendWeights
from genre_pipeline.recommenders.ease import EaseConfig, EaseRecommender
from genre_pipeline.recommenders.hybrid import HybridRecommender
from genre_pipeline.recommenders.popularity import PopularityConfig, PopularityRecommender
from genre_pipeline.recommenders.reasons import with_reasons
from genre_pipeline.recommenders.rules import RulesConfig
from genre_pipeline.recommenders.suite import popular_scores
from tests.recommenders import tiny_world

PAST = tiny_world.interactions(tiny_world.rows())


@pytest.fixture(scope="module")
def data() -> TrainingSet:
    return tiny_world.training_set()


@pytest.fixture(scope="module")
def parts(data: TrainingSet) -> dict[str, Recommender]:
    fitted: dict[str, Recommender] = {
        "popularity": PopularityRecommender(PopularityConfig()).fit(data, seed=0),
        "ease": EaseRecommender(EaseConfig(regularisation=5.0)).fit(data, seed=0),
    }
    weights = BlendWeights(parts=("popularity", "ease"), weights=((0.2, 0.8),))
    return {**fitted, "hybrid": HybridRecommender(fitted, weights).fit(data, seed=0)}


def config(**rules: object) -> GenreConfig:
    return GenreConfig.model_validate({"rules": rules, "publishing": {"k": 6}})


def test_the_default_rules_change_nothing(data: TrainingSet, parts: dict[str, Recommender]) -> None:
    asked = pl.Series([*data.user_ids, "nobody"])
    made = personal_lists(parts, data, asked, tiny_world.items(), config(), past=PAST)
    hybrid = parts["hybrid"]
    assert isinstance(hybrid, HybridRecommender)
    plain = recommend(hybrid, data, asked, k=6, cold_users="popular", popular=popular_scores(parts))
    assert made.equals(with_reasons(plain, hybrid, data, tiny_world.items(), config().reasons))
    assert rules_of(config().rules) == {}
    window = personal_lists(parts, data, asked, tiny_world.items(), config(salt="2"), past=PAST)
    assert window.equals(made)


def test_rules_name_each_users_variant_and_say_their_own_reasons(
    data: TrainingSet, parts: dict[str, Recommender]
) -> None:
    under = config(pinned=["i91"], variants=[{"name": "plain", "share": 0.5, "rules": {"pinned": []}}])
    made = personal_lists(parts, data, data.user_ids, tiny_world.items(), under, past=PAST)
    assert made.columns == ["user_id", "item_id", "rank", "score", "variant", "reasons"]
    assert set(made["variant"]) == {"default", "plain"}
    assert set(made.filter(rank=1, variant="default")["item_id"]) == {"i91"}
    assert made["reasons"].list.len().min() == 1
    assert rules_of(under.rules)["rules"]["pinned"] == ["i91"]
    plain = plain_lists(parts, "ease", data, data.user_ids, tiny_world.items(), under, past=PAST, k=3)
    assert plain.columns == ["user_id", "item_id", "rank", "score", "variant"]


def test_a_manifest_tells_an_arm_that_sets_a_rule_back() -> None:
    arm = {"name": "by-score", "share": 0.5, "rules": {"relevance_share": 1.0}}
    rules = RulesConfig.model_validate({"relevance_share": 0.5, "variants": [arm]})
    assert rules_of(rules) == {"rules": {"relevance_share": 0.5, "variants": [arm]}}


def test_only_repeats_beyond_the_rules_are_counted(data: TrainingSet, parts: dict[str, Recommender]) -> None:
    past, under = PAST, config(repeats={"least": 2, "most": 2})
    lists = personal_lists(parts, data, data.user_ids, tiny_world.items(), under, past=past)
    assert repeats_beyond(lists, past, config(repeats={"most": 2})) == 0
    assert repeats_beyond(lists, past, config(repeats={"most": 1})) == data.n_users
    assert repeats_beyond(lists, past, config()) == 2 * data.n_users
