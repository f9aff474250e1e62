"""What an item requires, what finishes it, and that no list holds what is not open yet."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.recommenders.ease import EaseConfig, EaseRecommender
from genre_pipeline.recommenders.popularity import PopularityConfig, popularity
from genre_pipeline.recommenders.prerequisites import (
    Prerequisites,
    PrerequisitesConfig,
    compile_prerequisites,
)
from genre_pipeline.recommenders.ruled_lists import RuledNight, ruled_lists
from genre_pipeline.recommenders.rules import RulesConfig
from tests.recommenders import tiny_world

IDS = pl.Series("item_id", ["a", "b", "c", "d"])
DATA = tiny_world.training_set()
EASE = EaseRecommender(EaseConfig(regularisation=5.0)).fit(DATA, seed=0)
POPULAR = popularity(DATA, PopularityConfig())
EVERYBODY = pl.Series("user_id", [*DATA.user_ids, "nobody"])


def compiled(requires: list[str | None] | list[list[str]]) -> Prerequisites:
    items = pl.DataFrame({"item_id": IDS, "requires": requires})
    made = compile_prerequisites(PrerequisitesConfig(column="requires"), items, IDS)
    assert made is not None
    return made


def opened(made: Prerequisites, finished: list[int]) -> str:
    return "".join(IDS.filter(pl.Series(made.open_to_one(np.array(finished, dtype=np.int64)))))


@pytest.mark.parametrize("requires", [[None, "a", " a | b,b", ""], [[], ["a"], ["a", "b"], []]])
def test_an_item_opens_with_the_last_of_what_it_requires(requires: Any) -> None:
    made = compiled(requires)
    found = [opened(made, finished) for finished in ([], [1], [0], [0, 1], [0, 1, 1, 3])]
    assert found == ["ad", "ad", "abd", "abcd", "abcd"]


def test_no_column_is_no_rule() -> None:
    assert compile_prerequisites(PrerequisitesConfig(), pl.DataFrame({"item_id": IDS}), IDS) is None


@pytest.mark.parametrize(
    ("requires", "said"),
    [
        (["b", None, "zz", None], "c requires zz"),
        (["a", None, None, None], "circle.*'a'"),
        (["b", "a", "b", None], "circle.*'a', 'b', 'c'"),
    ],
)
def test_what_nobody_could_ever_begin_is_named(requires: list[str | None], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        compiled(requires)


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="requires"):
        compile_prerequisites(PrerequisitesConfig(column="requires"), pl.DataFrame({"item_id": IDS}), IDS)


def test_what_finishes_an_item_is_the_same_for_a_table_and_an_event() -> None:
    kinds = [("view", None), ("progress", 0.5), ("progress", 1.0), ("progress", None), ("exam", 1.0)]
    table = pl.LazyFrame(
        [("u", str(number), *kind) for number, kind in enumerate(kinds)],
        schema={"user_id": pl.String, "item_id": pl.String, "event": pl.String, "value": pl.Float64},
        orient="row",
    )
    for config, expected in [
        (PrerequisitesConfig(column="r"), "01234"),
        (PrerequisitesConfig(column="r", events=("progress",)), "123"),
        (PrerequisitesConfig(column="r", least_value=1.0), "24"),
        (PrerequisitesConfig(column="r", events=("progress",), least_value=1.0), "2"),
    ]:
        assert "".join(sorted(config.finished(table).collect()["item_id"])) == expected
        assert "".join(str(number) for number, kind in enumerate(kinds) if config.finishes(*kind)) == expected


def test_a_condition_without_a_column_is_refused() -> None:
    with pytest.raises(ValidationError, match="column"):
        PrerequisitesConfig(least_value=1.0)


@settings(max_examples=40, deadline=None)
@given(
    world=st.integers(0, 10_000),
    rules=st.fixed_dictionaries(
        {},
        optional={
            "pinned": st.just(["i03", "i91"]),
            "exploration_share": st.sampled_from([0.3, 0.9]),
            "repeats": st.just({"least": 1, "most": 3}),
            "holdout_share": st.just(0.4),
            "filters": st.just({"available_only": False}),
        },
    ),
)
def test_no_list_holds_an_item_whose_prerequisites_the_user_has_not_finished(world: int, rules: dict[str, Any]) -> None:
    chance = np.random.default_rng(world)
    items = tiny_world.items().sort("item_id")
    ids = items["item_id"].to_list()
    requires = [[ids[other] for other in range(at) if chance.random() < 0.15] for at in range(len(ids))]
    items = items.with_columns(requires=pl.Series(requires, dtype=pl.List(pl.String)))
    past = tiny_world.interactions(tiny_world.rows()).with_columns(
        value=pl.Series(chance.random(DATA.events.height)), event=pl.lit("progress")
    )
    config = RulesConfig.model_validate(
        {**rules, "prerequisites": {"column": "requires", "events": ["progress"], "least_value": 0.5}}
    )
    night = RuledNight(config, items, np.eye(len(ids), dtype=np.float32), 20, past)
    lists = ruled_lists(EASE, DATA, EVERYBODY, night, k=8, popular=POPULAR)
    finished = {(user, item) for user, item in past.filter(pl.col("value") >= 0.5).select("user_id", "item_id").rows()}
    needs = dict(zip(ids, requires, strict=True))
    for user, item in lists.select("user_id", "item_id").rows():
        assert {(user, needed) for needed in needs[item]} <= finished
    assert not lists.is_empty()
