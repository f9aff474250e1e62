"""Feast's SQL registry, at the place the pipeline keeps it.

Feast's file registry, cut to nothing, loads as empty without an error; the SQL one is a database that says so. This
module only tells Feast where that database is: the registry type `genre`, registered when the online store is loaded.
"""

from typing import Any

import psycopg
from feast.infra.registry.sql import SqlRegistryConfig
from feast.repo_config import REGISTRY_CLASS_FOR_TYPE
from psycopg import sql

from genre_pipeline.adapters.feature_locations import (
    POSTGRES_SCHEMA,
    registry_file,
    registry_url,
    resolved_home,
    resolved_postgres,
)

REGISTRY_TYPE = "genre"


class HomeRegistryConfig(SqlRegistryConfig):  # type: ignore[misc]
    """Options of the SQL registry with `home` and `database_url` in place of a path.

    In schema mode `auto`, which is Feast's word for "create what is missing", the folder or the schema is made too.
    """

    def __init__(self, home: str | None = None, database_url: str | None = None, **options: Any) -> None:
        place, postgres = resolved_home(home), resolved_postgres(database_url)
        # Feast builds its own SqlRegistry for "sql" and knows no other name for it.
        super().__init__(**{**options, "registry_type": "sql", "path": registry_url(place, postgres)})
        if self.schema_mode != "auto":
            return
        if postgres is None:
            registry_file(place).parent.mkdir(parents=True, exist_ok=True)
        else:
            _create_schema(postgres.set(drivername="postgresql").render_as_string(hide_password=False))


def _create_schema(conninfo: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(POSTGRES_SCHEMA)))


REGISTRY_CLASS_FOR_TYPE[REGISTRY_TYPE] = f"{__name__}.HomeRegistry"
