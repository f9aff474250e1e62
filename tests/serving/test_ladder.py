"""Every stated situation and its stated answer, one row each: degrade in order, never empty, and say so."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from genre_pipeline.contracts.errors import NotPublishedError
from genre_pipeline.recommenders.rules import RulesConfig
from genre_pipeline.serving.answers import RecommendationsAnswer
from genre_pipeline.serving.ladder import ALL_EXCLUDED, ALL_SEEN, FEWER, NO_SUCH_CATEGORY
from genre_pipeline.serving.settings import ServingConfig
from genre_pipeline.serving.state import (
    LIST_OF_OTHER_RUN,
    NO_FEATURES,
    NO_LIST,
    ONLINE_STORE_DOWN,
    OTHER_MODEL,
    TABLES_DOWN,
)
from tests import scenario
from tests.fakes.serving_world import DAY, World, build_world, interactions

USER, COLD = "007", scenario.COLD_USER
N_SHOWN = scenario.N_ITEMS - 1


def online_store_down(world: World) -> None:
    world.features.is_down = True


def tables_down(world: World) -> None:
    world.tables.is_down = True


def both_down(world: World) -> None:
    world.features.is_down = world.tables.is_down = True


def no_list(world: World) -> None:
    world.tables.lists.clear()


def stale(world: World) -> None:
    rows = world.features.rows["user_vectors"]
    old = pl.lit(scenario.AS_OF - timedelta(days=9)).cast(rows.schema["event_timestamp"])
    world.features.rows["user_vectors"] = rows.with_columns(event_timestamp=old)


def other_model(world: World) -> None:
    world.features.rows["user_vectors"] = world.features.rows["user_vectors"].with_columns(model=pl.lit("other"))


def other_model_and_no_list(world: World) -> None:
    other_model(world)
    no_list(world)


def nothing_broken(_world: World) -> None:
    pass


STALE = f"stale_features: the user vector is from {(scenario.AS_OF - timedelta(days=9)).isoformat()}"
EVERYTHING = {"exclude": list(scenario.ITEM_IDS)}
SITUATIONS: list[tuple[str, Callable[[World], None], str, int, dict[str, Any], str, list[str], int]] = [
    # name, what is broken, user, k, wishes, strategy, degraded, length
    ("all well", nothing_broken, USER, 5, {}, "real-time", [], 5),
    ("unknown user", nothing_broken, "nobody", 5, {}, "popular", [NO_FEATURES, NO_LIST], 5),
    ("cold user", nothing_broken, COLD, 5, {}, "popular", [NO_FEATURES, NO_LIST], 5),
    ("no list tonight", no_list, USER, 5, {}, "real-time", [NO_LIST], 5),
    ("tables down", tables_down, USER, 5, {}, "real-time", [TABLES_DOWN], 5),
    ("online store down", online_store_down, USER, 5, {}, "published", [ONLINE_STORE_DOWN], 5),
    ("both down", both_down, USER, 5, {}, "similar", [ONLINE_STORE_DOWN, TABLES_DOWN], 5),
    ("both down, unknown user", both_down, "nobody", 5, {}, "popular", [ONLINE_STORE_DOWN, TABLES_DOWN], 5),
    ("stale features", stale, USER, 5, {}, "published", [STALE], 5),
    ("another encoder", other_model, USER, 5, {}, "published", [OTHER_MODEL], 5),
    ("another encoder, no list", other_model_and_no_list, USER, 5, {}, "similar", [OTHER_MODEL, NO_LIST], 5),
    ("k above the catalogue", nothing_broken, "nobody", 100, {}, "popular", [NO_FEATURES, NO_LIST, FEWER], N_SHOWN),
    ("asked for published", nothing_broken, USER, 5, {"strategy": "published"}, "published", [], 5),
    ("asked for similar", nothing_broken, USER, 5, {"strategy": "similar"}, "similar", [], 5),
    (
        "asked for the categories", nothing_broken, USER, 5, {"strategy": "popular-in-category"},
        "popular-in-category", [], 5,
    ),
    ("asked for popular", nothing_broken, USER, 5, {"strategy": "popular"}, "popular", [], 5),
    ("everything excluded", nothing_broken, USER, 5, EVERYTHING, "popular", [ALL_EXCLUDED], 5),
    ("no such category", nothing_broken, USER, 5, {"categories": ["opera"]}, "popular", [NO_SUCH_CATEGORY], 5),
    ("an unknown item excluded", nothing_broken, USER, 5, {"exclude": ["nowhere"]}, "real-time", [], 5),
]  # fmt: skip


@pytest.mark.parametrize(
    ("break_it", "user_id", "k", "wishes", "strategy", "degraded", "length"),
    [pytest.param(*row[1:], id=row[0]) for row in SITUATIONS],
)
def test_stated_answers(
    night: Path, break_it: Callable[[World], None], user_id: str, k: int, wishes: dict[str, Any], strategy: str,
    degraded: list[str], length: int,
) -> None:  # fmt: skip
    world = build_world(night)
    break_it(world)
    answer = world.service.recommend(user_id, k, **wishes)
    assert (answer.strategy, answer.degraded) == (strategy, degraded)
    assert len(ids(answer)) == len(set(ids(answer))) == length
    assert scenario.UNAVAILABLE_ITEM not in ids(answer)
    assert (answer.run_id, answer.model_version, answer.variant, answer.age_seconds) == (
        "run-1", "model-1", "default", 21600.0,
    )  # fmt: skip
    for line in answer.recommendations:
        assert line.reasons
        assert line.score == pytest.approx(sum(line.parts.model_dump().values()), abs=1e-6)


def test_model_missing(tmp_path: Path) -> None:
    world = build_world(tmp_path)
    shutil.rmtree(world.partitions.root / "item_text_vectors")
    world.service.held._run = None
    world.service.held.look()
    answer = world.service.recommend(USER, 5)
    assert answer.strategy == "published"
    assert answer.degraded[0].startswith("no_item_matrix")
    world.tables.lists.clear()
    assert world.service.recommend(USER, 5).strategy == "popular-in-category"


def test_newest_run_broken_and_registry_of_runs_gone(tmp_path: Path) -> None:
    world = build_world(tmp_path)
    shutil.rmtree(world.partitions.root / "items" / DAY)
    world.tables.publish("run-2", scenario.LAST_DAY, scenario.AS_OF)
    world.service.held.look()
    answer = world.service.recommend(USER, 5)
    assert (answer.run_id, answer.strategy) == ("run-1", "real-time")
    behind = "run_behind: the newest run cannot be read (MissingPartitionError)"
    assert answer.degraded == [LIST_OF_OTHER_RUN, behind]


def test_categories_and_exclusions_are_kept(night: Path) -> None:
    world = build_world(night)
    answer = world.service.recommend(USER, 4, categories=["space"], exclude=["i01", "i02", "i03"])
    items = dict(zip(scenario.ITEM_IDS, range(scenario.N_ITEMS), strict=True))
    assert all(items[item] < 8 for item in ids(answer))
    assert not {"i01", "i02", "i03"} & set(ids(answer))


def test_unavailable_items_only_where_they_are_asked_for(night: Path) -> None:
    world = build_world(night)
    world.features.is_down = True
    asked = world.service.recommend("nobody", 100, available_only=False)
    assert scenario.UNAVAILABLE_ITEM in ids(asked)
    loose = build_world(night, rules=RulesConfig.model_validate({"filters": {"available_only": False}}))
    assert scenario.UNAVAILABLE_ITEM in ids(loose.service.recommend("nobody", 100))
    assert scenario.UNAVAILABLE_ITEM not in ids(loose.service.recommend("nobody", 100, available_only=True))


def test_everything_seen(night: Path) -> None:
    world = build_world(night)
    had = interactions().filter(pl.col("user_id") == USER)["item_id"].to_list()
    left = [item for item in scenario.ITEM_IDS if item not in had]
    answer = world.service.recommend(USER, 3, exclude=left)
    assert (answer.strategy, answer.degraded) == ("popular", [ALL_SEEN])
    assert set(ids(answer)) <= set(had)


def test_all_items_banned_is_a_named_error(night: Path) -> None:
    world = build_world(night, rules=RulesConfig(banned=scenario.ITEM_IDS))
    with pytest.raises(NotPublishedError, match="rules"):
        world.service.recommend(USER)


def ids(answer: RecommendationsAnswer) -> list[str]:
    return [line.item_id for line in answer.recommendations]


class TestRules:
    """The same rules in real time."""

    def test_caps_bans_and_pins(self, night: Path) -> None:
        rules = {"caps": {"per_category": 2}, "banned": ["i09"], "pinned": ["i24"], "window": 5}
        world = build_world(night, rules=RulesConfig.model_validate(rules))
        answer = world.service.recommend(USER, 5)
        assert ids(answer)[0] == "i24"
        assert answer.recommendations[0].reasons == ["Picked for everybody"]
        assert "i09" not in ids(answer)
        run = world.service.held.run
        codes = run.categories[run.positions_of(ids(answer))]
        assert np.bincount(codes[codes >= 0]).max() == 2

    def test_variants_and_the_holdout(self, night: Path) -> None:
        arms = {"holdout_share": 0.3, "variants": [{"name": "pins", "share": 0.3, "rules": {"pinned": ["i24"]}}]}
        world = build_world(night, rules=RulesConfig.model_validate(arms))
        found = {user: world.service.recommend(user, 3) for user in scenario.USER_IDS}
        assert {answer.variant for answer in found.values()} == {"holdout", "pins", "default"}
        for answer in found.values():
            if answer.variant == "holdout":
                assert answer.strategy == "popular"
            if answer.variant == "pins" and "i24" in ids(answer):
                assert ids(answer)[0] == "i24"

    def test_exploration_is_the_same_all_day_and_other_the_next(self, night: Path) -> None:
        rules = RulesConfig.model_validate({"exploration_share": 0.5, "window": 6})
        world = build_world(night, rules=rules)
        first = {user: ids(world.service.recommend(user, 6)) for user in scenario.USER_IDS[:9]}
        world.clock.advance(3600)
        assert {user: ids(world.service.recommend(user, 6)) for user in first} == first
        world.clock.advance(24 * 3600)
        assert {user: ids(world.service.recommend(user, 6)) for user in first} != first

    def test_repeats(self, night: Path) -> None:
        rules = RulesConfig.model_validate({"repeats": {"least": 2, "most": 2}, "window": 6})
        world = build_world(night, rules=rules)
        had = set(interactions().filter(pl.col("user_id") == USER)["item_id"])
        assert len(had & set(ids(world.service.recommend(USER, 6)))) == 2

    def test_freshness_is_a_part_of_the_score(self, night: Path) -> None:
        rules = RulesConfig.model_validate({"freshness": {"boost": 0.5, "half_life_days": 10}})
        world = build_world(night, rules=rules)
        lines = {line.item_id: line for line in world.service.recommend(USER, 24).recommendations}
        assert lines["i24"].parts.freshness == pytest.approx(0.5 * 0.5**0.1, abs=1e-4)
        assert all(
            line.score == pytest.approx(sum(line.parts.model_dump().values()), abs=1e-5) for line in lines.values()
        )

    def test_freshness_counts_once_in_a_list_that_the_night_made_with_it(self, night: Path) -> None:
        rules = RulesConfig.model_validate({"freshness": {"boost": 0.5, "half_life_days": 10}})
        plain, fresh = build_world(night), build_world(night, rules=rules)
        boost = fresh.service.held.run.rules["default"].boost
        positions = fresh.service.held.run.positions
        fresh.tables.lists[USER] = [
            (item, score + float(boost[positions[item]])) for item, score in plain.tables.lists[USER]
        ]
        wishes = {"strategy": "published"}
        before, after = (
            {line.item_id: line.parts for line in world.service.recommend(USER, 8, **wishes).recommendations}
            for world in (plain, fresh)
        )
        assert before.keys() == after.keys()
        assert {item: parts.published for item, parts in after.items()} == {
            item: pytest.approx(parts.published, abs=1e-5) for item, parts in before.items()
        }
        assert any(parts.freshness for parts in after.values())

    def test_similar_items_are_filtered_and_neither_pinned_nor_drawn(self, night: Path) -> None:
        first, *rest = (line.item_id for line in build_world(night).service.similar("i02", 4).items)
        rules = {"pinned": ["i24"], "exploration_share": 0.5, "banned": [first]}
        world = build_world(night, rules=RulesConfig.model_validate(rules))
        assert [line.item_id for line in world.service.similar("i02", 3).items] == rest

    def test_the_holdout_needs_no_fresh_features(self, night: Path) -> None:
        world = build_world(night, rules=RulesConfig(holdout_share=0.999))
        world.features.is_down = True
        answer = world.service.recommend(USER, 3)
        assert (answer.variant, answer.strategy, answer.degraded) == ("holdout", "popular", [])


class TestSurfaces:
    """Each surface has a publication of its own."""

    def test_each_answers_from_its_own_run(self, night: Path) -> None:
        world = build_world(night, ServingConfig(surfaces=("default", "home")))
        world.tables.publish("run-home", scenario.LAST_DAY, scenario.AS_OF, "home")
        world.service.surfaces["home"].look()
        assert (world.service.recommend(USER).run_id, world.service.recommend(USER).surface) == ("run-1", "default")
        home = world.service.recommend(USER, surface="home")
        assert (home.run_id, home.surface) == ("run-home", "home")
