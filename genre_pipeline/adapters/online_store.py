"""Feast's SQLite and PostgreSQL online stores, guarded: the latest event stays, not the last write.

Feast's own stores let whichever write comes last win, so that a backfill of last week replaces what a user did a minute
ago. Here a row yields only to a row whose event is as late or later; a repeat of the same event may correct it. Every
write goes through `online_write_batch` (a materialisation, a push, the fast path), so every write is guarded.

Belongs here: how rows reach the two databases and come back. Does not belong here: what a feature is, or building the
values (`feature_store`). Feast finds these classes by name in `feature_repo/feature_store.yaml`.
"""

import contextlib
import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from feast.feature_view import FeatureView
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import compute_table_id
from feast.infra.online_stores.postgres_online_store.postgres import PostgreSQLOnlineStore, PostgreSQLOnlineStoreConfig
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig
from feast.infra.utils.postgres.connection_utils import _get_connection_pool
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import RepoConfig
from psycopg import Connection, sql
from psycopg_pool import ConnectionPool

from genre_pipeline.adapters import feature_registry
from genre_pipeline.adapters.feature_locations import (
    online_file,
    postgres_options,
    resolved_home,
    resolved_postgres,
)
from genre_pipeline.contracts.errors import FeatureStoreError

REGISTRY_TYPE = feature_registry.REGISTRY_TYPE
"""Named so that loading the online store is what registers the registry type."""

Entry = tuple[EntityKey, dict[str, Value], datetime, datetime | None]
"""Feast's unit of writing: whose, feature name to value, when it became true, when it was made."""
Found = tuple[datetime | None, dict[str, Value] | None]
"""Feast's unit of reading: when it became true and the values; two Nones for an entity that is not there."""
Row = tuple[bytes, str, bytes, datetime]
"""Entity key, feature name, serialised value, event time in UTC."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_BUSY_SECONDS = 30.0
_KEYS_A_QUERY = 500
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")

_SQLITE_CREATE = """
CREATE TABLE IF NOT EXISTS "{table}" (
    entity_key BLOB NOT NULL, feature_name TEXT NOT NULL, value BLOB NOT NULL, event_us INTEGER NOT NULL,
    PRIMARY KEY (entity_key, feature_name))
"""
_SQLITE_DROP = 'DROP TABLE IF EXISTS "{table}"'
_SQLITE_UPSERT = """
INSERT INTO "{table}" (entity_key, feature_name, value, event_us) VALUES (?, ?, ?, ?)
ON CONFLICT (entity_key, feature_name) DO UPDATE SET value = excluded.value, event_us = excluded.event_us
WHERE excluded.event_us >= event_us
"""
_SQLITE_SELECT = """
SELECT entity_key, feature_name, value, event_us FROM "{table}"
WHERE entity_key IN ({keys}) AND feature_name IN ({features})
"""
_SQLITE_DELETE = 'DELETE FROM "{table}" WHERE entity_key = ?'
_POSTGRES_DELETE = "DELETE FROM {table} WHERE entity_key = %b"
_POSTGRES_UPSERT = """
INSERT INTO {table} AS kept (entity_key, feature_name, value, event_ts)
SELECT * FROM unnest(%b::bytea[], %b::text[], %b::bytea[], %b::timestamptz[])
ON CONFLICT (entity_key, feature_name) DO UPDATE SET value = excluded.value, event_ts = excluded.event_ts
WHERE excluded.event_ts >= kept.event_ts
"""


class GuardedSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):  # type: ignore[misc]
    """Options of the SQLite store: `path` is the file, absolute."""

    type: Literal["genre_pipeline.adapters.online_store.GuardedSqliteOnlineStore"] = (
        "genre_pipeline.adapters.online_store.GuardedSqliteOnlineStore"
    )


class GuardedPostgresOnlineStoreConfig(PostgreSQLOnlineStoreConfig):  # type: ignore[misc]
    """Options of the PostgreSQL store, as Feast names them."""

    type: Literal["genre_pipeline.adapters.online_store.GuardedPostgresOnlineStore"] = (
        "genre_pipeline.adapters.online_store.GuardedPostgresOnlineStore"
    )


class GuardedOnlineStoreConfig:
    """What `feature_store.yaml` names: becomes the options of the PostgreSQL or of the SQLite store.

    Feast makes the store from the class of the options it gets, so choosing the options chooses the store.
    """

    def __new__(cls, *, type: str, home: str | None = None, database_url: str | None = None) -> Any:  # noqa: A002
        """`type` is this class's own name in the yaml; `home` and `database_url` as in `feature_locations`."""
        postgres = resolved_postgres(database_url)
        if postgres is not None:
            return GuardedPostgresOnlineStoreConfig(**postgres_options(postgres))
        return GuardedSqliteOnlineStoreConfig(path=str(online_file(resolved_home(home))))


class GuardedSqliteOnlineStore(SqliteOnlineStore):  # type: ignore[misc]
    """One SQLite file in WAL mode, one connection a thread, event times in microseconds.

    Feast's own store shares one connection between threads, so that one commits what another has half written, and
    keeps whole seconds of local time.
    """

    def __init__(self) -> None:
        self._local = threading.local()

    def online_write_batch(
        self, config: RepoConfig, table: FeatureView, data: list[Entry], progress: Callable[[int], Any] | None
    ) -> None:
        """Write in one transaction; rows older than what is there are left out."""
        rows = ((key, name, value, (at - _EPOCH) // _MICROSECOND) for key, name, value, at in _latest(config, data))
        with _named(config, table), self._get_conn(config) as connection:
            connection.executemany(_SQLITE_UPSERT.format(table=_table(config, table)), rows)
        if progress is not None:
            progress(len(data))

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[Found]:
        """The features asked for and no others, in the order of the keys."""
        names = requested_features or [feature.name for feature in table.features]
        keys = [_serialised(config, key) for key in entity_keys]
        found: list[tuple[bytes, str, bytes, int]] = []
        with _named(config, table):
            connection = self._get_conn(config)
            for start in range(0, len(keys), _KEYS_A_QUERY):
                some = keys[start : start + _KEYS_A_QUERY]
                query = _SQLITE_SELECT.format(
                    table=_table(config, table), keys=_marks(len(some)), features=_marks(len(names))
                )
                found += connection.execute(query, [*some, *names]).fetchall()
        return _collected(keys, ((key, name, value, _EPOCH + _MICROSECOND * at) for key, name, value, at in found))

    def delete(self, config: RepoConfig, table: FeatureView, key: EntityKey) -> bool:
        """Delete an entity of a view; whether it was there. What is deleted is overwritten."""
        with _named(config, table), self._get_conn(config) as connection:
            connection.execute("PRAGMA secure_delete = ON")
            query = _SQLITE_DELETE.format(table=_table(config, table))
            return connection.execute(query, [_serialised(config, key)]).rowcount > 0

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        *args: Any,
        **options: Any,
    ) -> None:
        """What `feast apply` calls: make the file and its tables. WAL is a property of the file, set here once."""
        path = Path(config.online_store.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        connection = self._get_conn(config)
        connection.execute("PRAGMA journal_mode=WAL")
        with connection:
            for view in tables_to_keep:
                connection.execute(_SQLITE_CREATE.format(table=_table(config, view)))
            for view in tables_to_delete:
                connection.execute(_SQLITE_DROP.format(table=_table(config, view)))

    def teardown(self, config: RepoConfig, *args: Any, **options: Any) -> None:
        """What `feast teardown` calls: remove the file and what SQLite keeps beside it."""
        self.disconnect()
        path = Path(config.online_store.path)
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            path.with_name(name).unlink(missing_ok=True)

    def disconnect(self) -> None:
        """Close this thread's connection; another thread's closes with the thread."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            del self._local.connection

    def _get_conn(self, config: RepoConfig) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            path = Path(config.online_store.path)
            if not path.is_file():  # sqlite3 would make an empty file, and every user would look unknown
                raise _not_applied("The online store's file is not there", str(path))
            connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, check_same_thread=False)
            connection.execute("PRAGMA synchronous=NORMAL")
            self._local.connection = connection
        return connection


class GuardedPostgresOnlineStore(PostgreSQLOnlineStore):  # type: ignore[misc]
    """Feast's PostgreSQL store with guarded writes and a pool that gets its connections back after an error."""

    def __init__(self) -> None:
        self._opening = threading.Lock()
        self._conn_pool: ConnectionPool | None = None

    def online_write_batch(
        self, config: RepoConfig, table: FeatureView, data: list[Entry], progress: Callable[[int], Any] | None
    ) -> None:
        """Write in one statement; rows older than what is there are left out. Sorted, so writers do not deadlock."""
        rows = sorted(_latest(config, data), key=lambda row: row[:2])
        query = sql.SQL(_POSTGRES_UPSERT).format(table=sql.Identifier(_table(config, table)))
        if rows:
            with self._get_conn(config) as connection, connection.transaction():
                connection.execute(query, [list(column) for column in zip(*rows, strict=True)])
        if progress is not None:
            progress(len(data))

    def delete(self, config: RepoConfig, table: FeatureView, key: EntityKey) -> bool:
        """Delete an entity of a view; whether it was there."""
        query = sql.SQL(_POSTGRES_DELETE).format(table=sql.Identifier(_table(config, table)))
        with self._get_conn(config) as connection, connection.transaction():
            return connection.execute(query, [_serialised(config, key)]).rowcount > 0

    def disconnect(self) -> None:
        """Close the pool; the next read or write opens another."""
        with self._opening:
            if self._conn_pool is not None:
                self._conn_pool.close()
                self._conn_pool = None

    @staticmethod
    def _result_from_values_dict(keys: list[bytes], values_dict: dict[bytes, list[tuple[Any, ...]]]) -> list[Found]:
        rows = ((key, *row) for key, found in values_dict.items() for row in found)
        return _collected(keys, ((key, name, bytes(value), at.astimezone(UTC)) for key, name, value, at in rows))

    @contextlib.contextmanager
    def _get_conn(self, config: RepoConfig, autocommit: bool = False) -> Iterator[Connection[Any]]:
        with self._opening:
            if self._conn_pool is None:
                pool = _get_connection_pool(config.online_store)
                pool.open()
                self._conn_pool = pool
            pool = self._conn_pool
        with pool.connection() as connection:
            connection.set_autocommit(autocommit)
            yield connection


def _latest(config: RepoConfig, data: Iterable[Entry]) -> Iterator[Row]:
    """Rows of a batch, each entity and feature once: the latest event, and the later of two equal ones."""
    rows: dict[tuple[bytes, str], Row] = {}
    for entity_key, values, written, _ in data:
        key, at = _serialised(config, entity_key), _utc(written)
        for name, value in values.items():
            kept = rows.get((key, name))
            if kept is None or at >= kept[3]:
                rows[key, name] = (key, name, value.SerializeToString(), at)
    return iter(rows.values())


def _collected(keys: Sequence[bytes], rows: Iterable[Row]) -> list[Found]:
    """One result a key, in their order. An entity is as old as the oldest of its features."""
    values: dict[bytes, dict[str, Value]] = {}
    times: dict[bytes, datetime] = {}
    for key, name, value, at in rows:
        values.setdefault(key, {})[name] = Value.FromString(value)
        times[key] = min(at, times.get(key, at))
    return [(times.get(key), values.get(key)) for key in keys]


def _serialised(config: RepoConfig, key: EntityKey) -> bytes:
    version = config.entity_key_serialization_version
    serialised: bytes = serialize_entity_key(key, entity_key_serialization_version=version)
    return serialised


def _utc(time: datetime) -> datetime:
    """Feast hands some times over without a zone, and means UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _table(config: RepoConfig, view: FeatureView) -> str:
    name: str = compute_table_id(config.project, view, config.registry.enable_online_feature_view_versioning)
    if not _IDENTIFIER.fullmatch(name):
        raise FeatureStoreError(
            "A feature view's name makes no table name", remedy="Use letters, digits and underscores.", culprits=[name]
        )
    return name


def _marks(count: int) -> str:
    return ",".join("?" * count)


@contextlib.contextmanager
def _named(config: RepoConfig, view: FeatureView) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _not_applied(f"The online store cannot serve {view.name}: {error}", config.online_store.path) from error


def _not_applied(problem: str, path: str) -> FeatureStoreError:
    return FeatureStoreError(
        problem, remedy="Run `feast apply` in the project, then materialise the features again.", culprits=[path]
    )
