"""The service over real SQLite tables and a real Feast online store: a night published, an event, a late event."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from fastapi.testclient import TestClient

from genre_pipeline.adapters.feature_store import FeatureStore, FeatureStoreConfig
from genre_pipeline.adapters.table_records import RunRecord
from genre_pipeline.adapters.tables import Tables
from genre_pipeline.serving.app import create_app
from genre_pipeline.serving.settings import ServingConfig
from genre_pipeline.serving.state import NO_FEATURES, ONLINE_STORE_DOWN
from genre_pipeline.serving.wiring import build_service
from tests import scenario
from tests.fakes import serving_world as world
from tests.fakes.serving_doors import Clock

ROOT = Path(__file__).parents[2]
NOW = scenario.AS_OF + timedelta(hours=6)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def tables(home: Path) -> Iterator[Tables]:
    tables = Tables(f"sqlite:///{home / 'genre.db'}", clock=Clock(NOW))
    tables.migrate()
    run = RunRecord("run-1", scenario.LAST_DAY, NOW, "model-1", "code-1", {}, {})
    expected = tables.stage(run, *published_frames())
    tables.publish("run-1", expected=expected)
    yield tables
    tables.close()


@pytest.fixture(scope="module")
def features(home: Path) -> FeatureStore:
    store = FeatureStore(FeatureStoreConfig(repo_path=ROOT / "feature_repo", home=home))
    store.apply()
    for view, frame in world.user_features().items():
        store.write_online(view, frame)
    return store


@pytest.fixture(scope="module")
def client(home: Path, tables: Tables, features: FeatureStore) -> Iterator[TestClient]:
    partitions = world.write_partitions(home / "data")
    service = build_service(tables, features, partitions, ServingConfig(), clock=Clock(NOW))
    with TestClient(create_app(service), base_url="http://127.0.0.1") as client:
        yield client


def published_frames() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Recommendations with reasons, similar items, popular items, catalogue."""
    rows = [
        (user, item, rank, score, ["in your taste"])
        for user, listed in sorted(world.published_lists().items())
        for rank, (item, score) in enumerate(listed, start=1)
    ]
    kinds = {"rank": pl.UInt32, "score": pl.Float32}
    lists = pl.DataFrame(rows, schema=["user_id", "item_id", "rank", "score", "reasons"], orient="row").cast(kinds)
    similar = pl.DataFrame({"item_id": ["i01"], "similar_item_id": ["i02"], "rank": [1], "score": [0.9]}).cast(kinds)
    popular = pl.DataFrame({"category": [""], "item_id": ["i05"], "rank": [1], "score": [3.0]}).cast(kinds)
    return lists, similar, popular, world.items()


def listed(client: TestClient, user_id: str) -> dict[str, object]:
    body: dict[str, object] = client.get(f"/v1/users/{user_id}/recommendations?k=5").json()
    return body


def test_ready_and_real_time(client: TestClient) -> None:
    assert client.get("/readyz").json()["ready"] is True
    body = listed(client, "007")
    assert (body["strategy"], body["degraded"], body["run_id"]) == ("real-time", [], "run-1")
    assert [line["item_id"] for line in client.get("/v1/items/i01/similar").json()["items"]] == ["i02"]
    assert [line["item_id"] for line in client.get("/v1/popular").json()["items"]] == ["i05"]


def test_unknown_user_is_null_online_and_gets_popular_items(client: TestClient) -> None:
    body = listed(client, scenario.COLD_USER)
    assert body["strategy"] == "popular"
    assert body["degraded"][0] == NO_FEATURES  # type: ignore[index]


def test_event_is_logged_once_and_changes_the_next_answer(client: TestClient, tables: Tables) -> None:
    first = listed(client, "008")["recommendations"][0]["item_id"]  # type: ignore[index]
    event = {"user_id": "008", "item_id": first, "event": "like", "timestamp": "2024-03-11T05:00:00Z"}
    assert client.post("/v1/events", json={"events": [event]}).json()["accepted"] == 1
    assert client.post("/v1/events", json={"events": [event]}).json()["duplicates"] == 1
    assert first not in [line["item_id"] for line in listed(client, "008")["recommendations"]]  # type: ignore[attr-defined]
    assert tables.events_since(scenario.AS_OF).filter(pl.col("user_id") == "008").height == 1


def test_late_event_does_not_overwrite(client: TestClient, features: FeatureStore) -> None:
    events = [
        {"user_id": "009", "item_id": "i20", "timestamp": "2024-03-11T05:00:00Z"},
        {"user_id": "009", "item_id": "i21", "timestamp": "2024-03-01T00:00:00Z"},
    ]
    for event in events:
        assert client.post("/v1/events", json={"events": [event]}).json()["degraded"] == []
    row = features.online("user_histories", ["009"]).row(0, named=True)
    assert row["item_ids"][-1] == "i20"
    assert "i21" in row["item_ids"]
    assert row["event_timestamp"] == scenario.AS_OF + timedelta(hours=5)
    # A night of before may not take the fresher row back.
    features.write_online("user_histories", world.user_features()["user_histories"])
    assert features.online("user_histories", ["009"]).row(0, named=True) == row


def test_cold_user_with_an_event_of_an_item_without_a_vector(client: TestClient) -> None:
    event = {"user_id": "brand new", "item_id": scenario.TEXTLESS_ITEM}
    assert client.post("/v1/events", json={"events": [event]}).json()["degraded"] == []
    assert listed(client, "brand new")["strategy"] == "popular"


def test_hostile_ids_reach_real_stores_as_data(client: TestClient) -> None:
    for user_id in ("'; DROP TABLE runs; --", "a%2Fb", "%F0%9F%8E%AC", "x" * 512):
        assert client.get(f"/v1/users/{user_id}/recommendations").status_code == 200


def test_lost_online_store_degrades(home: Path, tables: Tables) -> None:
    absent = FeatureStore(FeatureStoreConfig(repo_path=ROOT / "feature_repo", home=home / "absent"))
    service = build_service(tables, absent, world.write_partitions(home / "data"), ServingConfig(), clock=Clock(NOW))
    service.warm_up()
    answer = service.recommend("007", 5)
    assert (answer.strategy, answer.degraded) == ("published", [ONLINE_STORE_DOWN])
