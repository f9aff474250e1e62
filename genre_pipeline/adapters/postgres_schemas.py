"""One PostgreSQL database, a schema for each tenant: Dagster, MLflow and our tables all have `runs` and
`alembic_version`, which cannot be shared.
"""

from sqlalchemy import create_engine, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateSchema

from genre_pipeline.contracts.errors import ConfigError

_LOCK = 7_305_411_906
"""Any constant of our own: the advisory lock under which a schema is made."""


def url_in_schema(url: str, schema: str) -> str:
    """The URL with driver psycopg2 by name, and `schema` first in the search path.

    Without a driver name the meaning of `postgresql://` depends on SQLAlchemy's version (2.1 changed it). Raises
    `ConfigError` where the URL is not one of PostgreSQL; the message does not show it, for it holds a password.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise _not_usable(schema, "what is set is no URL") from error
    if parsed.drivername.partition("+")[0] not in {"postgresql", "postgres"}:
        raise _not_usable(schema, f"{parsed.drivername} is neither postgresql nor sqlite")
    given = parsed.query.get("options", ())
    options = " ".join([*([given] if isinstance(given, str) else given), f"-csearch_path={schema}"])
    wanted = parsed.set(drivername="postgresql+psycopg2").update_query_dict({"options": options})
    return wanted.render_as_string(hide_password=False)


def ensure_schema(url: str, schema: str) -> None:
    """Make the schema once. Several processes start together: the lock lets one of them make it."""
    there = select(func.to_regnamespace(schema).is_not(None))
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        # Looked for first: CREATE SCHEMA asks for a privilege, even where IF NOT EXISTS has nothing to do.
        if not connection.scalar(there):
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            connection.execute(CreateSchema(schema, if_not_exists=True))


def _not_usable(schema: str, why: str) -> ConfigError:
    return ConfigError(
        f"GENRE_DATABASE_URL cannot hold the schema {schema!r}: {why}",
        remedy="Set it like postgresql+psycopg2://user:password@host:5432/database, or unset it for SQLite.",
    )
