"""The way to a database: URL, connections, transactions, locks, and its errors in the project's words.

What belongs here: what differs between SQLite and PostgreSQL below the level of tables. What does not: any table.
"""

import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from genre_pipeline.contracts.errors import ConfigError, GenreError, NotPublishedError, TablesError

BUSY_TIMEOUT_MS = 5_000
"""How long SQLite waits for another process's write to end."""
LOCK_TIMEOUT_MS = 30_000
"""How long PostgreSQL waits for a lock before it says so."""
_MISSING_TABLE = "no such table"


class Database:
    """One database. A connection is used by one thread at a time; `read` and `write` each are one transaction."""

    def __init__(self, url: str) -> None:
        self.url = explicit_url(url)
        self.is_postgresql = self.url.get_backend_name() == "postgresql"
        self._engine = _postgresql_engine(self.url) if self.is_postgresql else _sqlite_engine(self.url)
        self._local = threading.local()
        reading = {"isolation_level": "REPEATABLE READ"} if self.is_postgresql else {}
        self._reader = self._engine.execution_options(**reading)
        self._writer = self._engine.execution_options(genre_write=True)

    @property
    def name(self) -> str:
        """The URL without its password, for messages."""
        return self.url.render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One snapshot: all statements see the same state, whatever is published meanwhile."""
        with self._in_our_words(reads=True), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def write(self, lock: str = "") -> Iterator[sa.Connection]:
        """One transaction; `lock` names what only one of them may do at a time (SQLite has one writer anyway)."""
        with self._in_our_words(reads=False), self._writer.begin() as connection:
            if lock and self.is_postgresql:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_lock_number(lock))))
            yield connection

    def fetch_one(self, statement: str, parameters: Mapping[str, object] | Sequence[object]) -> Sequence[Any] | None:
        """One row of one statement in the driver's own words: a snapshot of its own, at a twentieth of `read`'s cost.

        For what is read with every request. Values come as the driver gives them.
        """
        with self._in_our_words(reads=True):
            if self.is_postgresql:
                with self._engine.connect() as connection:
                    driver = connection.connection.driver_connection
                    assert isinstance(driver, psycopg.Connection)
                    return driver.execute(cast("Any", statement), cast("Any", parameters)).fetchone()
            row: Sequence[Any] | None = self._own_sqlite().execute(statement, cast("Any", parameters)).fetchone()
            return row

    def compiled(self, query: sa.Select[Any]) -> tuple[str, tuple[str, ...]]:
        """A statement in this database's words, and the order of its parameters where they go by place."""
        found = query.compile(dialect=self._engine.dialect)
        return str(found), tuple(found.positiontup or ())

    def _own_sqlite(self) -> sqlite3.Connection:
        """This thread's connection for single reads; it goes with the thread."""
        held: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if held is None:
            assert self.url.database is not None
            timeout = BUSY_TIMEOUT_MS / 1000
            held = sqlite3.connect(self.url.database, timeout=timeout, isolation_level=None, check_same_thread=False)
            self._local.connection = held
        return held

    def scrub(self) -> None:
        """Leave no copy of deleted rows in SQLite's log file. PostgreSQL's autovacuum does it in its own time."""
        if not self.is_postgresql:
            with self._in_our_words(reads=False), self._engine.connect() as connection:
                driver = connection.connection.driver_connection
                assert driver is not None
                driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close every connection."""
        held: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if held is not None:
            held.close()
            del self._local.connection
        self._engine.dispose()

    @contextmanager
    def _in_our_words(self, *, reads: bool) -> Iterator[None]:
        try:
            yield
        except (sa.exc.ProgrammingError, sa.exc.OperationalError) as error:
            if _is_missing_table(error):
                raise self._not_migrated(reads) from error
            if isinstance(error, sa.exc.ProgrammingError):
                raise
            raise self._unreachable(error.orig or error) from error
        except psycopg.errors.UndefinedTable as error:
            raise self._not_migrated(reads) from error
        except psycopg.OperationalError as error:
            raise self._unreachable(error) from error
        except sqlite3.OperationalError as error:
            raise (self._not_migrated(reads) if _MISSING_TABLE in str(error) else self._unreachable(error)) from error
        except sqlite3.DatabaseError as error:
            raise self._unreachable(error) from error
        except sa.exc.DatabaseError as error:
            if type(error) is not sa.exc.DatabaseError:
                raise
            raise self._unreachable(error.orig or error) from error

    def _not_migrated(self, reads: bool) -> GenreError:
        error = NotPublishedError if reads else TablesError
        return error(f"{self.name} has no tables yet", remedy="Run the nightly job once: `genre run`.")

    def _unreachable(self, cause: BaseException) -> TablesError:
        return TablesError(
            f"The database {self.name} did not answer: {str(cause).strip()}",
            remedy="See that it is running, reachable and not locked by another program, then run this again.",
        )


def explicit_url(url: str) -> URL:
    """The URL with its driver written out; `ConfigError` where it is neither a SQLite file nor PostgreSQL."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError("The database URL cannot be read", remedy=_URL_FORMS) from error
    backend = parsed.get_backend_name()
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed.set(drivername="sqlite+pysqlite")
    raise ConfigError("The tables cannot live in this kind of database", remedy=_URL_FORMS, culprits=[backend])


_URL_FORMS = "Write `sqlite:///path/to/genre.db` (a file) or `postgresql://user:password@host/database`."


def _postgresql_engine(url: URL) -> sa.Engine:
    settings = {} if "options" in url.query else {"options": "-c timezone=UTC -c lock_timeout=" + str(LOCK_TIMEOUT_MS)}
    return sa.create_engine(url, pool_size=8, max_overflow=24, pool_pre_ping=True, connect_args=settings)


def _sqlite_engine(url: URL) -> sa.Engine:
    assert url.database is not None
    Path(url.database).absolute().parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(
        url, pool_size=8, max_overflow=24, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "isolation_level": None}
    )
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    """WAL lets readers read while one writes; secure_delete overwrites what is deleted, so that forgetting forgets."""
    if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")


def _begin_sqlite(connection: sa.Connection) -> None:
    """A writer takes the write lock at once: upgrading a read lock later fails instead of waiting."""
    writes = connection.get_execution_options().get("genre_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _is_missing_table(error: sa.exc.DBAPIError) -> bool:
    return isinstance(error.orig, psycopg.errors.UndefinedTable) or _MISSING_TABLE in str(error.orig)


def _lock_number(name: str) -> int:
    """An advisory lock's 64-bit signed number from its name."""
    return int.from_bytes(hashlib.sha256(b"genre:" + name.encode()).digest()[:8], "big", signed=True)
