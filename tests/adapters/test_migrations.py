from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from genre_pipeline.adapters.database import Database
from genre_pipeline.adapters.migrations import head_revision
from genre_pipeline.adapters.table_definitions import METADATA
from genre_pipeline.adapters.tables import Tables
from tests.adapters.staged_runs import publish

VIEWS = {"current_recommendations", "current_similar_items", "current_popular_items"}


def names(url: str) -> tuple[set[str], set[str]]:
    database = Database(url)
    with database.read() as connection:
        inspector = sa.inspect(connection)
        found = set(inspector.get_table_names()), set(inspector.get_view_names())
    database.close()
    return found


def test_up_down_and_up_again(database_url: str) -> None:
    tables = Tables(database_url)
    tables.migrate()
    assert names(database_url) == ({*METADATA.tables, "alembic_version"}, VIEWS)
    publish(tables, "r1")
    tables.downgrade()
    assert names(database_url) == ({"alembic_version"}, set())
    assert not tables.health().is_migrated
    tables.migrate()
    tables.migrate()
    assert tables.health().revision == head_revision()
    assert publish(tables, "r1").moved
    tables.close()


def test_the_history_ends_at_the_definitions(tables: Tables, database_url: str) -> None:
    database = Database(database_url)
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    database.close()


def test_those_who_migrate_at_once_migrate_once(database_url: str) -> None:
    def migrate(_number: int) -> str | None:
        tables = Tables(database_url)
        tables.migrate()
        revision = tables.health().revision
        tables.close()
        return revision

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(migrate, range(4))) == [head_revision()] * 4
