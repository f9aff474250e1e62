"""The short way to a published list gives what the long way gives, and leaves to it what is not a list as stored."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from genre_pipeline.recommenders.rules import RulesConfig
from genre_pipeline.serving.answers import RecommendationsAnswer
from genre_pipeline.serving.app import create_app
from genre_pipeline.serving.reading import plain_wishes
from genre_pipeline.serving.service import BUSY
from genre_pipeline.serving.settings import ServingConfig
from tests import scenario
from tests.fakes.serving_world import World, build_world, published_lists

BASE = "http://127.0.0.1:8000"
USERS = sorted(published_lists())


@pytest.fixture
def world(night: Path) -> World:
    return build_world(night)


def long_way(world: World, user_id: str, k: int) -> dict[str, Any]:
    answer = world.service.recommend(user_id, k, strategy="published")
    return dict(json.loads(answer.model_dump_json()))


@pytest.mark.parametrize("k", [1, 3, 8])
def test_both_ways_give_the_same(world: World, k: int) -> None:
    short = 0
    for user_id in USERS:
        body = world.service.read_list(user_id, k)
        if body is not None:
            RecommendationsAnswer.model_validate_json(body, strict=True)
            assert json.loads(body) == long_way(world, user_id, k)
            short += 1
    assert short


def test_what_the_user_had_since_is_left_out_by_both(world: World) -> None:
    user_id = next(user for user in USERS if len(published_lists()[user]) > 3)
    first = long_way(world, user_id, 3)["recommendations"][0]["item_id"]
    with TestClient(create_app(world.service), base_url=BASE) as client:
        client.post("/v1/events", json={"events": [{"user_id": user_id, "item_id": first}]})
    body = world.service.read_list(user_id, 3)
    assert body is not None
    answer = json.loads(body)
    assert first not in [line["item_id"] for line in answer["recommendations"]]
    assert answer == long_way(world, user_id, 3)


def test_what_is_no_list_as_stored_is_left_to_the_long_way(night: Path, world: World) -> None:
    assert world.service.read_list("nobody", 3) is None
    assert world.service.read_list(USERS[0], 50) is None
    capped = build_world(night, rules=RulesConfig.model_validate({"caps": {"per_category": 1}}))
    held_out = build_world(night, rules=RulesConfig(holdout_share=0.999999))
    for other in (capped, held_out):
        assert other.service.read_list(USERS[0], 3) is None
    world.tables.is_down = True
    assert world.service.read_list(USERS[0], 3) is None


def test_equal_scores_are_left_to_the_long_way(world: World) -> None:
    row = world.tables.published_row(USERS[0], surface="default")
    assert row is not None
    same = replace(row, scores=[1.0] * len(row.scores))
    world.tables.published_row = lambda user_id, /, *, surface: same  # type: ignore[assignment, method-assign]
    assert world.service.read_list(USERS[0], 3) is None


@pytest.mark.parametrize(
    ("query", "wishes"),
    [
        (b"", {}),
        (b"strategy=published", {"strategy": "published"}),
        (b"k=5&strategy=published&surface=a%20b", {"k": "5", "strategy": "published", "surface": "a b"}),
        (b"strategy=published&strategy=popular", None),
        (b"strategy=published&categories=a", None),
        (b"strategy=published&k=", None),
        (b"strategy=published&k=-1", None),
        (b"strategy=published&k=%D9%A3", None),
        (b"strategy=published&available_only=true", None),
    ],
)
def test_a_plain_query_wants_a_list_and_nothing_more(query: bytes, wishes: dict[str, str] | None) -> None:
    assert plain_wishes(query) == wishes


def test_limits_hold_on_the_short_way_too(world: World) -> None:
    with TestClient(create_app(world.service), base_url=BASE) as client:
        for query in ("k=0", "k=1000", "surface=elsewhere"):
            answer = client.get(f"/v1/users/{USERS[0]}/recommendations?strategy=published&{query}")
            assert answer.status_code == 422, query
            assert answer.json()["error"] == "RequestError"


def test_when_much_waits_lists_are_the_published_ones_but_for_who_just_did_something(night: Path) -> None:
    world = build_world(night, ServingConfig(waiting_scored=0))
    with TestClient(create_app(world.service), base_url=BASE) as client:
        path = f"/v1/users/{USERS[0]}/recommendations"
        for query in ("?k=3", "?k=3&exclude=nothing"):
            answer = client.get(path + query).json()
            assert (answer["strategy"], answer["degraded"]) == ("published", [BUSY])
        client.post("/v1/events", json={"events": [{"user_id": USERS[0], "item_id": scenario.ITEM_IDS[2]}]})
        answer = client.get(path + "?k=3").json()
        assert (answer["strategy"], answer["degraded"]) == ("real-time", [])


@pytest.mark.parametrize("query", ["surface=%FF", "k=%FF", "%FF=1"])
def test_a_query_that_is_no_text_is_told_so_and_breaks_nothing(world: World, query: str) -> None:
    with TestClient(create_app(world.service), base_url=BASE) as client:
        answer = client.get(f"/v1/users/{USERS[0]}/recommendations?strategy=published&{query}")
    assert answer.status_code == (200 if query.startswith("%") else 422)
