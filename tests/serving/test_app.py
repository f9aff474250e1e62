"""The HTTP face: routes, status codes, the error body, limits, headers, and what the log may say."""

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from fastapi.testclient import TestClient

from genre_pipeline.serving.app import create_app
from genre_pipeline.serving.settings import ServingConfig
from tests import scenario
from tests.fakes.serving_world import World, build_world

BASE = "http://127.0.0.1:8000"


@pytest.fixture
def world(night: Path) -> World:
    return build_world(night, ServingConfig(body_limit_bytes=4096))


@pytest.fixture
def client(world: World) -> Iterator[TestClient]:
    with TestClient(create_app(world.service), base_url=BASE) as client:
        yield client


def error_of(response: object) -> tuple[int, str]:
    body = response.json()  # type: ignore[attr-defined]
    assert set(body) == {"error", "problem", "remedy"}
    assert all(body.values())
    return response.status_code, body["error"]  # type: ignore[attr-defined]


def test_recommendations(client: TestClient) -> None:
    body = client.get("/v1/users/007/recommendations?k=3").json()
    assert (body["user_id"], body["strategy"], body["run_id"]) == ("007", "real-time", "run-1")
    assert (body["as_of"], body["age_seconds"], body["degraded"]) == ("2024-03-11T00:00:00Z", 21600.0, [])
    assert [line["rank"] for line in body["recommendations"]] == [1, 2, 3]
    assert set(body["recommendations"][0]) == {"item_id", "title", "rank", "score", "reasons", "parts"}


def test_posted_event_changes_the_next_answer(client: TestClient) -> None:
    before = client.get("/v1/users/007/recommendations?k=3").json()["recommendations"]
    event = {"user_id": "007", "item_id": before[0]["item_id"], "event": "view", "timestamp": 1710115200}
    body = {"accepted": 1, "duplicates": 0, "unknown_items": [], "degraded": []}
    assert client.post("/v1/events", json={"events": [event]}).json() == body
    after = client.get("/v1/users/007/recommendations?k=3").json()["recommendations"]
    assert before[0]["item_id"] not in [line["item_id"] for line in after]
    replayed = client.post("/v1/events", json={"events": [event]}).json()
    assert (replayed["accepted"], replayed["duplicates"]) == (0, 1)


def test_a_posted_impression_is_kept_and_changes_no_list(client: TestClient) -> None:
    answer = client.get("/v1/users/007/recommendations?k=3").json()
    line = answer["recommendations"][0]
    shown = {"run_id": answer["run_id"], "variant": answer["variant"], "rank": line["rank"]}
    event = {"user_id": "007", "item_id": line["item_id"], "event": "impression", "timestamp": 1710115200, **shown}
    posted = client.post("/v1/events", json={"events": [event]}).json()
    assert (posted["accepted"], posted["degraded"]) == (1, [])
    assert client.get("/v1/users/007/recommendations?k=3").json()["recommendations"] == answer["recommendations"]
    assert client.post("/v1/events", json={"events": [event]}).json()["duplicates"] == 1
    blind = client.post("/v1/events", json={"events": [{**event, "rank": None}]})
    assert error_of(blind) == (422, "RequestError")


def test_similar_and_popular(client: TestClient) -> None:
    similar = client.get("/v1/items/i01/similar?k=1").json()
    assert [line["item_id"] for line in similar["items"]] == ["i02"]
    assert [line["item_id"] for line in client.get("/v1/popular?category=space").json()["items"]] == ["i03"]
    assert error_of(client.get("/v1/items/nowhere/similar")) == (404, "UnknownItemError")


@pytest.mark.parametrize(
    "user_id", ["a%2Fb", "a%0Ab", "%3Cscript%3E", "..%2F..%2Fetc", "'; DROP TABLE runs; --", "%F0%9F%8E%AC"]
)
def test_odd_ids_are_data(client: TestClient, user_id: str) -> None:
    response = client.get(f"/v1/users/{user_id}/recommendations")
    assert response.status_code == 200
    assert len(response.json()["recommendations"]) == 10


@pytest.mark.parametrize(
    "path",
    [
        "/v1/users/a%00b/recommendations",
        "/v1/users/%ED%A0%80/recommendations",
        "/v1/users/%FF/recommendations",
        f"/v1/users/{'x' * 513}/recommendations",
        "/v1/users//recommendations",
        "/v1/users/007/recommendations?k=0",
        "/v1/users/007/recommendations?k=101",
        "/v1/users/007/recommendations?k=ten",
        "/v1/items/%00/similar",
        "/v1/popular?category=%00",
    ],
)
def test_hostile_paths_are_422(client: TestClient, path: str) -> None:
    assert error_of(client.get(path)) == (422, "RequestError")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 3000,
        b'{"events": []}',
        b'{"events": [{"user_id": "u"}]}',
        b'{"events": [{"user_id": "u", "item_id": "i", "colour": 1}]}',
        b'{"events": [{"user_id": "\\u0000", "item_id": "i"}]}',
        b'{"events": [{"user_id": "\\ud800", "item_id": "i"}]}',
        b'{"events": [{"user_id": "u", "item_id": "i", "event_id": "\\udfff"}]}',
        b'{"events": [{"user_id": "u", "item_id": "i", "value": NaN}]}',
        b'{"events": [{"user_id": "u", "item_id": "i", "timestamp": 1e300}]}',
        b'{"events": [{"user_id": "u", "item_id": "i", "timestamp": "2124-01-01T00:00:00Z"}]}',
        b'{"events": [{"user_id": "u", "item_id": "i", "timestamp": "0001-01-01T00:00:00+14:00"}]}',
        b'{"events": [{"user_id": 5, "item_id": "i"}]}',
        b"\xff\xfe",
    ],
)
def test_hostile_bodies_are_refused(client: TestClient, world: World, body: bytes) -> None:
    response = client.post("/v1/events", content=body, headers={"content-type": "application/json"})
    status, error = error_of(response)
    assert (status in (400, 422), error) == (True, "RequestError")
    assert world.tables.log.is_empty()


def test_large_bodies_are_refused_with_and_without_a_length(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    assert error_of(client.post("/v1/events", content=b"x" * 4097, headers=headers)) == (413, "RequestError")
    chunks = (b"x" * 1000 for _ in range(5))
    assert error_of(client.post("/v1/events", content=chunks, headers=headers)) == (413, "RequestError")


def test_routes_that_are_not_there(client: TestClient) -> None:
    assert error_of(client.get("/v2/anything")) == (404, "NotFound")
    assert error_of(client.delete("/v1/popular")) == (405, "MethodNotAllowed")


def test_other_host_names_are_not_served(client: TestClient) -> None:
    response = client.get("/v1/popular", headers={"host": "rebound.example:8000"})
    assert error_of(response) == (421, "RequestError")
    for host in ("localhost:9", "[::1]:9", "127.0.0.1"):
        assert client.get("/healthz", headers={"host": host}).status_code == 200


def test_security_headers_on_every_answer(client: TestClient) -> None:
    for path in ("/", "/v1/popular", "/nowhere", "/static/style.css"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
        assert "access-control-allow-origin" not in headers


def test_nothing_published(night: Path) -> None:
    world = build_world(night, is_published=False)
    with TestClient(create_app(world.service), base_url=BASE) as client:
        response = client.get("/v1/users/007/recommendations")
        assert error_of(response) == (503, "NotPublishedError")
        assert "genre run" in response.json()["remedy"]
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503
        assert "genre run" in client.get("/").text


def test_newer_run_is_taken_up_without_a_restart(client: TestClient, world: World) -> None:
    world.tables.publish("run-2", scenario.LAST_DAY, scenario.AS_OF)
    world.clock.advance(60)
    assert client.get("/v1/users/007/recommendations").status_code == 200
    client.app.state.reload.result(timeout=30)  # type: ignore[attr-defined]
    assert client.get("/v1/users/007/recommendations").json()["run_id"] == "run-2"


def test_health_readiness_metrics(client: TestClient, world: World) -> None:
    assert client.get("/readyz").json()["ready"] is True
    client.get("/v1/users/007/recommendations")
    metrics = client.get("/metrics").text
    assert 'genre_recommendations_total{strategy="real-time"} 1.0' in metrics
    assert 'route="/v1/users/{user_id:id}/recommendations",status="200"' in metrics
    world.features.is_down = True
    response = client.get("/readyz")
    assert (response.status_code, response.json()["checks"]["online_store"]) == (503, "FeatureStoreError")


def test_no_user_ids_in_the_log(client: TestClient, world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client.get("/v1/users/secret-person/recommendations")
    client.post("/v1/events", json={"events": [{"user_id": "secret-person", "item_id": "i01"}]})
    world.features.is_down = world.tables.is_down = True
    client.get("/v1/users/secret-person/recommendations")
    own = [record.getMessage() for record in caplog.records if record.name.startswith("genre_pipeline")]
    assert own
    assert not any("secret-person" in message for message in own)


def test_openapi_has_examples_and_the_error_body(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    assert set(schema["paths"]) == {
        "/v1/users/{user_id}/recommendations", "/v1/users/{user_id}", "/v1/items/{item_id}/similar", "/v1/popular",
        "/v1/score", "/v1/sessions/recommendations", "/v1/events", "/healthz", "/readyz",
    }  # fmt: skip
    event = schema["components"]["schemas"]["Event"]["properties"]
    assert event["user_id"]["examples"] == ["196"]
    for path, methods in schema["paths"].items():
        for method in methods.values():
            if path.startswith("/v1/"):
                assert method["responses"]["422"]["content"]["application/json"]["schema"]["$ref"].endswith(
                    "ErrorAnswer"
                )
    assert "HTTPValidationError" not in json.dumps(schema["paths"])


def test_a_deadline_ends_the_wait_and_not_the_work(night: Path) -> None:
    world = build_world(night, ServingConfig(deadline_seconds=0.05))
    may_write, append = threading.Event(), world.tables.append_new_events

    def slow(events: pl.DataFrame) -> pl.DataFrame:
        assert may_write.wait(timeout=30)
        return append(events)

    world.tables.append_new_events = slow  # type: ignore[method-assign]
    with TestClient(create_app(world.service), base_url=BASE) as client:
        event = {"user_id": "007", "item_id": "i20", "timestamp": 1710115200}
        late = client.post("/v1/events", json={"events": [event]})
        assert error_of(late) == (503, "RequestError")
        assert late.headers["retry-after"] == "1"
        may_write.set()
        again = client.post("/v1/events", json={"events": [event]})
        while again.status_code == 503:
            again = client.post("/v1/events", json={"events": [event]})
        assert again.json()["duplicates"] == 1
    # What was logged after the caller was sent away is in the features too.
    assert world.features.online("user_histories", ["007"])["item_ids"][0][-1] == "i20"


def test_unknown_surfaces_and_strategies_are_named(client: TestClient) -> None:
    for query in ("surface=nowhere", "strategy=magic", "available_only=perhaps", "exclude=" + "x" * 513):
        assert error_of(client.get(f"/v1/users/007/recommendations?{query}")) == (422, "RequestError")


def test_every_answer_says_where_it_comes_from(client: TestClient) -> None:
    answers = [
        client.get("/v1/users/007/recommendations"),
        client.get("/v1/items/i01/similar"),
        client.get("/v1/popular"),
        client.post("/v1/score", json={"item_ids": ["i01"]}),
        client.post("/v1/sessions/recommendations", json={"events": []}),
    ]
    provenance = {"run_id", "model_version", "surface", "as_of", "age_seconds", "strategy", "variant", "degraded"}
    for answer in answers:
        body = answer.json()
        assert provenance <= set(body)
        lines = next(body[name] for name in ("recommendations", "items", "scores") if name in body)
        assert all({"item_id", "score", "reasons", "parts"} <= set(line) for line in lines)
