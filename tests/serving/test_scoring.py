"""Sessions, scores of named candidates, new items, and forgetting: over HTTP, in the tiny world."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.features.item_texts import ItemTextConfig
from genre_pipeline.serving.answers import Event
from genre_pipeline.serving.app import create_app
from genre_pipeline.serving.scoring import (
    ENCODER_FAILS,
    NO_ENCODER,
    NO_TEXT,
    OTHER_ENCODER,
    UNKNOWN_ITEMS,
    NewItemEncoder,
)
from genre_pipeline.serving.service import NO_HISTORY
from tests import scenario
from tests.fakes.serving_world import World, build_world
from tests.fakes.text_axes import Axes

BASE = "http://127.0.0.1:8000"


class Broken(Axes):
    def encode(self, texts: Sequence[str]) -> np.ndarray:
        raise ModelFileError("The encoder is gone", remedy="Bring it back.")


@pytest.fixture
def world(night: Path) -> World:
    return build_world(night, encoder=NewItemEncoder(Axes(), ItemTextConfig()))


@pytest.fixture
def client(world: World) -> Iterator[TestClient]:
    with TestClient(create_app(world.service), base_url=BASE) as client:
        yield client


def test_a_session_is_scored_in_real_time_and_leaves_nothing_behind(client: TestClient, world: World) -> None:
    before = (world.tables.log.height, {view: rows.height for view, rows in world.features.rows.items()})
    events = [{"item_id": "i01", "event": "view"}, {"item_id": "i02", "event": "like"}]
    body = client.post("/v1/sessions/recommendations", json={"events": events, "k": 4}).json()
    assert (body["strategy"], body["degraded"], body["unknown_items"]) == ("real-time", [], [])
    listed = [line["item_id"] for line in body["recommendations"]]
    assert all(item in scenario.ITEM_IDS[2:8] for item in listed)
    assert "because you liked" in str(body["recommendations"])
    assert (world.tables.log.height, {view: rows.height for view, rows in world.features.rows.items()}) == before
    assert "session" not in world.features.rows["user_histories"]["user_id"]


def test_sessions_of_nothing_and_of_unknown_items(client: TestClient) -> None:
    empty = client.post("/v1/sessions/recommendations", json={"events": []}).json()
    assert (empty["strategy"], empty["degraded"]) == ("popular", [NO_HISTORY])
    unknown = client.post("/v1/sessions/recommendations", json={"events": [{"item_id": "new"}], "k": 3}).json()
    assert (unknown["strategy"], unknown["unknown_items"], len(unknown["recommendations"])) == ("popular", ["new"], 3)


def test_scores_of_candidates_best_first(client: TestClient) -> None:
    body = client.post("/v1/score", json={"user_id": "007", "item_ids": ["i01", "i20", "nowhere", "i23"]}).json()
    assert [line["item_id"] for line in body["scores"]] == sorted(
        ["i01", "i20", "i23"],
        key=lambda item: -next(line["score"] for line in body["scores"] if line["item_id"] == item),
    )
    assert (body["unscored"], body["degraded"], body["strategy"]) == (["nowhere"], [UNKNOWN_ITEMS], "real-time")
    for line in body["scores"]:
        assert line["score"] == pytest.approx(sum(line["parts"].values()), abs=1e-6)
        assert line["reasons"]
    listed = client.get("/v1/users/007/recommendations?k=24").json()["recommendations"]
    of_list = {line["item_id"]: line["score"] for line in listed}
    shared = [line for line in body["scores"] if line["item_id"] in of_list]
    assert shared
    assert all(line["score"] == pytest.approx(of_list[line["item_id"]], abs=1e-6) for line in shared)


def test_new_items_are_judged_by_their_text(client: TestClient) -> None:
    items = [
        {"item_id": "n1", "title": "A new space story", "categories": ["space"], "price": 5},
        {"item_id": "n2", "title": "Cooking", "categories": ["kitchen"]},
        {"item_id": "n3"},
    ]
    client.post("/v1/events", json={"events": [{"user_id": "fan", "item_id": "i01"}]})
    body = client.post("/v1/score", json={"user_id": "fan", "items": items, "item_ids": ["i02"]}).json()
    scores = {line["item_id"]: line for line in body["scores"]}
    assert scores["n1"]["score"] > scores["n2"]["score"]
    assert (scores["n1"]["is_new"], scores["i02"]["is_new"], scores["n3"]["score"]) == (True, False, 0.0)
    assert body["degraded"] == [NO_TEXT]


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        (None, NO_ENCODER),
        (NewItemEncoder(Axes("other"), ItemTextConfig()), OTHER_ENCODER),
        (NewItemEncoder(Broken(), ItemTextConfig()), ENCODER_FAILS),
    ],
)
def test_without_an_encoder_new_items_stay_unscored_and_it_is_said(
    night: Path, encoder: NewItemEncoder | None, said: str
) -> None:
    world = build_world(night, encoder=encoder)
    with TestClient(create_app(world.service), base_url=BASE) as client:
        asked = {"user_id": "007", "items": [{"item_id": "n1", "title": "space"}], "item_ids": ["i20"]}
        body = client.post("/v1/score", json=asked).json()
    assert (body["unscored"], body["degraded"], len(body["scores"])) == (["n1"], [said], 1)


@pytest.mark.parametrize(
    "body",
    [
        {"user_id": "007"},
        {"item_ids": ["i01"], "items": [{"item_id": "i01"}]},
        {"items": [{"item_id": "n"}, {"item_id": "n"}]},
        {"item_ids": ["i"] * 3, "colour": 1},
        {"item_ids": [f"i{number}" for number in range(501)]},
        {"user_id": "", "item_ids": ["i01"]},
        {"items": [{"item_id": "n", "nested": {"a": 1}}]},
        {"item_ids": ["i01"], "surface": "nowhere"},
    ],
)
def test_unusable_score_requests(client: TestClient, body: dict[str, object]) -> None:
    response = client.post("/v1/score", json=body)
    assert (response.status_code, response.json()["error"]) == (422, "RequestError")


def test_nobody_in_particular(client: TestClient) -> None:
    body = client.post("/v1/score", json={"item_ids": ["i01", "i24"]}).json()
    assert (body["user_id"], body["strategy"], body["degraded"]) == (None, "popular", [])
    assert [line["item_id"] for line in body["scores"]] == ["i01", "i24"]


def test_forgetting_a_user(client: TestClient, world: World) -> None:
    client.post("/v1/events", json={"events": [{"user_id": "007", "item_id": "i20"}]})
    body = client.delete("/v1/users/007").json()
    assert body["deleted"] == {"recommendations": 1, "events": 1, "online_features": 3}
    assert body["remains"]
    assert "007" not in world.service.held.run.seen.rows
    after = client.get("/v1/users/007/recommendations?k=3").json()
    assert after["strategy"] == "popular"
    assert client.delete("/v1/users/007").json()["deleted"] == {"recommendations": 0, "events": 0, "online_features": 0}


def test_an_event_that_is_on_its_way_brings_no_forgotten_user_back(world: World) -> None:
    recorder = world.service.recorder
    logged, new = recorder.log([Event(user_id="007", item_id="i20")])
    erased = recorder.erase("007")
    recorder.refresh(logged, new)
    assert recorder.forget("007", erased).deleted == {"recommendations": 1, "events": 1, "online_features": 3}
    assert world.features.online("user_histories", ["007"])["item_ids"].to_list() == [None]
    assert world.service.held.items_since("007") == []


def test_popularity_follows_events_within_seconds(client: TestClient, world: World) -> None:
    world.tables.popular_lists.clear()
    events = [{"user_id": f"u{number}", "item_id": "i24"} for number in range(60)]
    client.post("/v1/events", json={"events": events})
    world.clock.advance(1)
    listed = client.get("/v1/popular?k=1").json()["items"]
    assert [line["item_id"] for line in listed] == ["i24"]
