"""Where Dagster keeps its runs, events, schedules, artifacts and logs.

`dagster.yaml` has no conditions, so it names the classes here and they decide: PostgreSQL when `GENRE_DATABASE_URL` is
set, else SQLite under `GENRE_HOME/dagster`. Both come from the environment alone, since Dagster opens its instance
before any configuration file of ours is read. Keep everything else out: Dagster imports this module in every process.
It leans on import paths that Dagster does not promise; tests/defs/test_instance_storage.py says when one moves.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from genre_pipeline.contracts.errors import ConfigError

DAGSTER_SCHEMA = "dagster"
"""Dagster's own schema: it, MLflow and our tables all have `runs` and `alembic_version`, which cannot be shared."""

_SCHEMA_LOCK = 7_305_411_906
"""Any constant of our own: the advisory lock under which the schema is made."""


class GenreStorage(DagsterStorage, ConfigurableClass):
    """Runs, events and schedules: PostgreSQL when the database URL is set, else SQLite. Never instantiated itself."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Nothing to configure in `dagster.yaml`."""
        return {}

    @classmethod
    def from_config_value(  # type: ignore[override]
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> DagsterStorage:
        """The storage that the environment asks for. ConfigError when the URL is not one of PostgreSQL or SQLite."""
        url = os.environ.get("GENRE_DATABASE_URL", "")
        return _postgres(url, inst_data) if url and not url.startswith("sqlite") else _sqlite(inst_data)


class GenreArtifactStorage(LocalArtifactStorage):
    """Files that Dagster itself keeps a run."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Nothing to configure in `dagster.yaml`."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Under `GENRE_HOME/dagster`."""
        return cls(str(dagster_folder()), inst_data)


class GenreComputeLogs(LocalComputeLogManager):
    """What the steps of a run printed."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Nothing to configure in `dagster.yaml`."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Under `GENRE_HOME/dagster/logs`."""
        return cls(str(dagster_folder() / "logs"), inst_data=inst_data)


def dagster_folder() -> Path:
    """`GENRE_HOME/dagster`, absolute; `GENRE_HOME` is `.genre` in the working directory unless set."""
    return Path(os.environ.get("GENRE_HOME") or ".genre").resolve() / "dagster"


def dagster_database_url(url: str) -> str:
    """The URL as dagster-postgres needs it: driver psycopg2 by name, and Dagster's schema first in the search path.

    Without a driver name the meaning of `postgresql://` depends on SQLAlchemy's version (2.1 changed it).
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise _not_usable("what is set is no URL") from error
    if parsed.drivername.partition("+")[0] not in {"postgresql", "postgres"}:
        raise _not_usable(f"{parsed.drivername} is neither postgresql nor sqlite")
    given = parsed.query.get("options", ())
    options = " ".join([*([given] if isinstance(given, str) else given), f"-csearch_path={DAGSTER_SCHEMA}"])
    wanted = parsed.set(drivername="postgresql+psycopg2").update_query_dict({"options": options})
    return wanted.render_as_string(hide_password=False)


def _postgres(url: str, inst_data: ConfigurableClassData | None) -> DagsterStorage:
    from dagster_postgres.storage import DagsterPostgresStorage

    wanted = dagster_database_url(url)
    _ensure_schema(wanted)
    storage: DagsterStorage = DagsterPostgresStorage(postgres_url=wanted, inst_data=inst_data)
    return storage


def _sqlite(inst_data: ConfigurableClassData | None) -> DagsterStorage:
    from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

    return DagsterSqliteStorage.from_local(str(dagster_folder()), inst_data)


def _ensure_schema(url: str) -> None:
    """Make Dagster's schema once. Several processes start together: the lock lets one of them make it."""
    from sqlalchemy import create_engine, func, select
    from sqlalchemy.pool import NullPool
    from sqlalchemy.schema import CreateSchema

    there = select(func.to_regnamespace(DAGSTER_SCHEMA).is_not(None))
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        # Looked for first: CREATE SCHEMA asks for a privilege, even where IF NOT EXISTS has nothing to do.
        if not connection.scalar(there):
            connection.execute(select(func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
            connection.execute(CreateSchema(DAGSTER_SCHEMA, if_not_exists=True))


def _not_usable(why: str) -> ConfigError:
    # The URL itself stays out of the message: it holds a password.
    return ConfigError(
        f"GENRE_DATABASE_URL cannot hold Dagster's runs: {why}",
        remedy="Set it like postgresql+psycopg2://user:password@host:5432/database, or unset it for SQLite.",
    )
