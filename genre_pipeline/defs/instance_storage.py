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

DAGSTER_SCHEMA = "dagster"
"""Where Dagster's tables lie in the one PostgreSQL database."""


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
    """The URL as dagster-postgres needs it, in Dagster's own schema."""
    from genre_pipeline.adapters.postgres_schemas import url_in_schema

    return url_in_schema(url, DAGSTER_SCHEMA)


def _postgres(url: str, inst_data: ConfigurableClassData | None) -> DagsterStorage:
    from dagster_postgres.storage import DagsterPostgresStorage

    from genre_pipeline.adapters.postgres_schemas import ensure_schema

    wanted = dagster_database_url(url)
    ensure_schema(wanted, DAGSTER_SCHEMA)
    storage: DagsterStorage = DagsterPostgresStorage(postgres_url=wanted, inst_data=inst_data)
    return storage


def _sqlite(inst_data: ConfigurableClassData | None) -> DagsterStorage:
    from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

    return DagsterSqliteStorage.from_local(str(dagster_folder()), inst_data)
