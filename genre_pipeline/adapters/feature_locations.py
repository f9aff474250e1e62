"""Where Feast's files and tables lie, decided in one place for the pipeline and for the `feast` command.

The pipeline says where (`FeatureStoreConfig`); the `feast` command has only the environment: GENRE_HOME, by default
`.genre` in the project's folder, and GENRE_DATABASE_URL. Both end here, so both meet the same registry and the same
online store. Does not belong here: anything that opens a file or a connection, or imports feast.
"""

import os
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from genre_pipeline.contracts.errors import FeatureStoreError

HOME_VARIABLE = "GENRE_HOME"
DATABASE_VARIABLE = "GENRE_DATABASE_URL"
DATA = "data"
REPOSITORY = "feature_repo"
REPOSITORY_FILE = "feature_store.yaml"
POSTGRES_SCHEMA = "feast"
"""Feast's tables have general names (`projects`, `permissions`): they get a schema of their own."""
_DEFAULT_HOME = ".genre"


def resolved_home(home: str | None) -> Path:
    """The pipeline's home as an absolute path: `home` if given, else GENRE_HOME, else `.genre` in the project.

    A relative path of the environment counts from the project's folder, not from wherever `feast` was called.
    """
    if home is not None:
        return Path(home).absolute()
    named = Path(os.environ.get(HOME_VARIABLE) or _DEFAULT_HOME).expanduser()
    return named if named.is_absolute() else _project_folder() / named


def resolved_postgres(database_url: str | None) -> URL | None:
    """The PostgreSQL URL if `database_url`, or else GENRE_DATABASE_URL, names one; None means SQLite under the home.

    Raises FeatureStoreError for a URL that is neither: the URL itself is not repeated, it may hold a password.
    """
    text = os.environ.get(DATABASE_VARIABLE) if database_url is None else database_url
    if not text:
        return None
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise _unusable_url("cannot be parsed") from error
    backend = url.get_backend_name()
    if backend == "sqlite":
        return None
    if backend != "postgresql":
        raise _unusable_url(f"names {backend!r}")
    return url.set(drivername="postgresql+psycopg")


def registry_file(home: Path) -> Path:
    """The SQLite file that holds Feast's registry."""
    return home / "feast" / "registry.db"


def online_file(home: Path) -> Path:
    """The SQLite file that holds the online store."""
    return home / "feast" / "online.db"


def registry_url(home: Path, postgres: URL | None) -> str:
    """The SQLAlchemy URL of the registry."""
    if postgres is None:
        return f"sqlite:///{registry_file(home)}"
    search_path = {"options": f"-csearch_path={POSTGRES_SCHEMA}"}
    return postgres.update_query_dict(search_path).render_as_string(hide_password=False)


def postgres_options(postgres: URL) -> dict[str, Any]:
    """Feast's own words for the parts of a PostgreSQL URL, with `sslmode` said aloud and a pool for threads."""
    return {
        "host": postgres.host or _first(postgres.query.get("host")) or "localhost",
        "port": postgres.port or 5432,
        "database": postgres.database or "postgres",
        "db_schema": POSTGRES_SCHEMA,
        "user": postgres.username or "postgres",
        "password": postgres.password or "",
        "sslmode": _first(postgres.query.get("sslmode")) or "prefer",
        "conn_type": "pool",
    }


def _first(value: str | tuple[str, ...] | None) -> str | None:
    return value[0] if isinstance(value, tuple) else value


def _project_folder() -> Path:
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / REPOSITORY / REPOSITORY_FILE).is_file():
            return folder
    raise FeatureStoreError(
        f"No folder above the working directory holds {REPOSITORY}/{REPOSITORY_FILE}, so {_DEFAULT_HOME} has no place",
        remedy=f"Call feast from inside the project, or set {HOME_VARIABLE} to an absolute path.",
        culprits=[str(here)],
    )


def _unusable_url(why: str) -> FeatureStoreError:
    return FeatureStoreError(
        f"The database URL {why}",
        remedy=f"Give {DATABASE_VARIABLE} a URL like postgresql://user@host/name, or leave it out for SQLite.",
    )
