"""Prerequisites in real time: closed on every rung, open with the event that finishes them, and as the night knew."""

from pathlib import Path

import polars as pl
import pytest

from genre_pipeline.adapters.partitions import PartitionStore
from genre_pipeline.recommenders.rules import RulesConfig
from genre_pipeline.serving.answers import Event, SessionEvent, SessionRequest
from genre_pipeline.serving.ladder import STRATEGIES
from tests.fakes import serving_world as fake

RULES = {"prerequisites": {"column": "requires", "events": ["purchase", "progress"], "least_value": 1.0}}
FIRST, THEN = "i24", "i15"
"""Nobody has finished the cold item, and so nobody may be shown what it opens."""


@pytest.fixture
def world(tmp_path: Path) -> fake.World:
    store: PartitionStore = fake.write_partitions(tmp_path)
    requires = pl.when(pl.col("item_id") == THEN).then(pl.lit(FIRST)).alias("requires")
    store.write("items", fake.DAY, fake.items().with_columns(requires))
    return fake.build_world(tmp_path, rules=RulesConfig.model_validate(RULES))


def shown(world: fake.World, user: str, strategy: str = "real-time") -> set[str]:
    answer = world.service.recommend(user, 100, strategy=strategy)
    return {line.item_id for line in answer.recommendations}


def post(world: fake.World, user: str, event: str, value: float | None) -> None:
    posted = [Event(event_id=f"{user}{event}{value}", user_id=user, item_id=FIRST, event=event, value=value)]
    world.service.recorder.refresh(*world.service.recorder.log(posted))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_item_opens_with_the_event_that_finishes_what_it_requires(world: fake.World, strategy: str) -> None:
    user = "nobody-yet"
    assert THEN not in shown(world, user, strategy)
    for event, value in [("view", None), ("progress", 0.9), ("progress", None)]:
        post(world, user, event, value)
        assert THEN not in shown(world, user, strategy)
    post(world, user, "progress", 1.0)
    assert THEN in shown(world, user, strategy)
    world.service.recorder.forget(user, {})
    assert THEN not in shown(world, user, strategy)


def test_what_the_night_knew_as_finished_stays_open(tmp_path: Path) -> None:
    store = fake.write_partitions(tmp_path)
    bought = fake.interactions().filter(event="purchase")
    buyers, (item,) = bought.group_by("item_id").agg("user_id").sort("item_id").row(0)[1], bought["item_id"].sort()[:1]
    requires = pl.when(pl.col("item_id") == FIRST).then(pl.lit(item)).alias("requires")
    store.write("items", fake.DAY, fake.items().with_columns(requires))
    world = fake.build_world(tmp_path, rules=RulesConfig.model_validate(RULES))
    assert {user for user in ("001", *buyers, "030") if FIRST in shown(world, user)} >= set(buyers)
    assert FIRST not in shown(world, "030")


def test_a_session_has_finished_nothing_that_asks_for_a_value(world: fake.World) -> None:
    asked = SessionRequest(events=[SessionEvent(item_id=FIRST, event="progress")], k=100)
    assert THEN not in {line.item_id for line in world.service.session(asked).recommendations}


def test_everything_excluded_still_keeps_closed_what_is_closed(world: fake.World) -> None:
    everything = fake.items()["item_id"].to_list()
    answer = world.service.recommend("nobody", 100, exclude=everything)
    assert answer.recommendations
    assert THEN not in {line.item_id for line in answer.recommendations}
