"""The history of the schema, and the three functions that move along it.

alembic is driven from here with an open connection: no alembic.ini, no working directory. Whoever calls holds a lock
and a transaction, so that two processes that start at once migrate once, and a migration that dies leaves nothing.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.config import Config


def upgrade(connection: sa.Connection, revision: str = "head") -> None:
    """Move the schema forward to `revision`."""
    from alembic import command

    command.upgrade(_config(connection), revision)


def downgrade(connection: sa.Connection, revision: str = "base") -> None:
    """Move the schema back to `revision`; rows of tables that go are lost."""
    from alembic import command

    command.downgrade(_config(connection), revision)


def current_revision(connection: sa.Connection) -> str | None:
    """The revision the database is at; None before the first migration."""
    from alembic.migration import MigrationContext

    return MigrationContext.configure(connection).get_current_revision()


def head_revision() -> str | None:
    """The revision this code asks for."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_config(None)).get_current_head()


def _config(connection: sa.Connection | None) -> "Config":
    from alembic.config import Config

    config = Config()
    # alembic interpolates options: a percent sign in the path of the installation must stay one.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
