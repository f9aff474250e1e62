"""The guard: whatever the order of writes and by whatever door, the latest event stays."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genre_pipeline.adapters.feature_store import FeatureStore
from genre_pipeline.adapters.partitions import PartitionStore
from genre_pipeline.contracts.errors import FeatureStoreError
from tests.adapters.feature_frames import at, item_text_vectors, user_vectors

REPO = Path(__file__).parents[2] / "feature_repo"
VIEW = "user_vectors"
Write = tuple[int, int, float]
SCHEDULES = st.lists(
    st.lists(st.tuples(st.integers(0, 2), st.integers(-3, 3), st.floats(-1, 1, width=32)), max_size=6), max_size=5
)
"""Batches of (user, microsecond of the event, value)."""
SHARED = [HealthCheck.function_scoped_fixture]
_fresh = count()


def assert_latest_event_stays(store: FeatureStore, batches: list[list[Write]]) -> None:
    users = [f"{next(_fresh)}-{user}" for user in range(3)]  # nobody that an earlier example wrote
    kept: dict[str, tuple[int, float]] = {}
    for batch in batches:
        rows = [(users[user], at(0) + timedelta(microseconds=us), [value]) for user, us, value in batch]
        store.write_online(VIEW, user_vectors(rows))
        for user, us, value in batch:
            if users[user] not in kept or us >= kept[users[user]][0]:
                kept[users[user]] = (us, value)
    found = store.online(VIEW, users).select("event_timestamp", pl.col("vector").list.first()).rows()
    expected = [
        (at(0) + timedelta(microseconds=kept[user][0]), kept[user][1]) if user in kept else (None, None)
        for user in users
    ]
    assert found == expected


@settings(max_examples=1000, deadline=None, suppress_health_check=SHARED)
@given(batches=SCHEDULES)
def test_the_latest_event_stays_on_sqlite(sqlite_features: FeatureStore, batches: list[list[Write]]) -> None:
    assert_latest_event_stays(sqlite_features, batches)


@pytest.mark.postgres
@settings(max_examples=100, deadline=None, suppress_health_check=SHARED)
@given(batches=SCHEDULES)
def test_the_latest_event_stays_on_postgres(postgres_features: FeatureStore, batches: list[list[Write]]) -> None:
    assert_latest_event_stays(postgres_features, batches)


def test_a_late_backfill_changes_nothing(features: FeatureStore) -> None:
    features.write_online(VIEW, user_vectors([("a", at(10), [0.9]), ("b", at(0), [0.2])]))
    features.write_online(VIEW, user_vectors([("a", at(0), [0.1]), ("b", at(1), [0.3])]))
    expected = user_vectors([("a", at(10), [0.9]), ("b", at(1), [0.3])])
    assert features.online(VIEW, ["a", "b"]).select(expected.columns).equals(expected)


def test_a_repeat_of_the_same_event_corrects_it(features: FeatureStore) -> None:
    for vector in ([0.1], None, [0.3, 0.4]):
        features.write_online(VIEW, user_vectors([("a", at(0), vector)]))
        assert (
            features.online(VIEW, ["a"])["vector"].to_list() == user_vectors([("a", at(0), vector)])["vector"].to_list()
        )


def test_feasts_own_push_and_materialise_are_guarded_too(
    features: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    import feast
    from feast.data_source import PushMode

    home = features.config.home
    monkeypatch.setenv("GENRE_HOME", str(home))
    monkeypatch.setenv("GENRE_DATABASE_URL", features.config.database_url or "")
    store = feast.FeatureStore(repo_path=str(REPO))
    features.write_online(VIEW, user_vectors([("a", at(5), [0.5]), ("b", at(1), [0.1])]))

    PartitionStore(home / "data").write(VIEW, "1998-04-02", user_vectors([("a", at(2), [0.2]), ("b", at(2), [0.2])]))
    store.materialize(at(1), at(3), feature_views=[VIEW], disable_event_timestamp=False)
    assert features.online(VIEW, ["a", "b"])["vector"].to_list() == [[0.5], pytest.approx([0.2])]

    def push(user: str, days: float, value: float) -> None:
        row = {"user_id": [user], "model": ["m"], "vector": [[value]], "event_timestamp": [pd.Timestamp(at(days))]}
        store.push("user_vectors_push", pd.DataFrame(row), to=PushMode.ONLINE)

    push("a", 4, 0.0)
    push("b", 4, 0.75)
    assert features.online(VIEW, ["a", "b"])["vector"].to_list() == [[0.5], [0.75]]
    store._get_provider().online_store.disconnect()
    store.registry.write_engine.dispose()


def test_writers_and_readers_at_once_never_meet_a_half_written_row(features: FeatureStore) -> None:
    everybody = [f"u{number}" for number in range(40)]

    def write(turn: int) -> None:
        moment = at(turn)
        order = everybody if turn % 2 else everybody[::-1]  # opposite orders deadlock unless the store sorts
        features.write_online(VIEW, user_vectors([(user, moment, [float(turn)]) for user in order], model=str(turn)))

    def read(_: int) -> list[tuple[str | None, list[float] | None]]:
        return features.online(VIEW, everybody).select("model", "vector").rows()

    with ThreadPoolExecutor(4) as threads:
        writing = [threads.submit(write, turn) for turn in range(12)]
        answers = [row for answer in threads.map(read, range(12)) for row in answer]
        for job in writing:
            job.result()
    assert all(model is None or [float(model)] == vector for model, vector in answers)
    assert read(0) == [("11", [11.0])] * 40


def test_only_the_features_asked_for_are_read(sqlite_features: FeatureStore) -> None:
    import feast
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    sqlite_features.write_online("item_text_vectors", item_text_vectors(np.ones((2, 4), np.float32), at(0)))
    repository = sqlite_features._opened()
    view = repository.view("item_text_vectors").view
    key = EntityKey(join_keys=["item_id"], entity_values=[Value(string_val="i1")])
    store: feast.FeatureStore = repository._store
    [(time, values)] = store._get_provider().online_read(store.config, view, [key], ["model"])
    assert (time, values) == (at(0), {"model": Value(string_val="m")})


def test_more_keys_than_a_statement_takes(features: FeatureStore) -> None:
    vectors = np.arange(1200, dtype=np.float32).reshape(-1, 1)
    features.write_online("item_text_vectors", item_text_vectors(vectors, at(0)))
    backwards = [f"i{position}" for position in range(1199, -1, -1)]
    assert features.online("item_text_vectors", backwards)["vector"].list.first().to_list() == list(range(1199, -1, -1))


def test_the_file_is_in_wal_mode(applied_home: Path) -> None:
    connection = sqlite3.connect(applied_home / "feast" / "online.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_missing_file_is_named_instead_of_made(sqlite_features: FeatureStore) -> None:
    path = sqlite_features.config.home / "feast" / "online.db"
    path.unlink()
    with pytest.raises(FeatureStoreError, match="file is not there") as caught:
        sqlite_features.online(VIEW, ["a"])
    assert caught.value.culprits == (str(path),)
    assert not path.exists()


def test_a_missing_table_is_named(features: FeatureStore) -> None:
    name = "genre_user_vectors"
    if features.config.database_url is None:
        connection = sqlite3.connect(features.config.home / "feast" / "online.db")
        connection.execute(f"DROP TABLE {name}")
        connection.close()
    else:
        import psycopg

        with psycopg.connect(features.config.database_url, autocommit=True) as server:
            server.execute(f"DROP TABLE feast.{name}")
    with pytest.raises(FeatureStoreError, match=name):
        features.online(VIEW, ["a"])
    with pytest.raises(FeatureStoreError, match=name):
        features.health()
