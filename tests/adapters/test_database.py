from pathlib import Path

import pytest
import sqlalchemy as sa

from genre_pipeline.adapters.database import Database, explicit_url
from genre_pipeline.contracts.errors import ConfigError, TablesError


@pytest.mark.parametrize(
    ("given", "explicit"),
    [
        ("postgresql://u:p@h/d", "postgresql+psycopg://u:***@h/d"),
        ("postgresql+psycopg2://h/d?sslmode=require", "postgresql+psycopg://h/d?sslmode=require"),
        ("sqlite:////tmp/x.db", "sqlite+pysqlite:////tmp/x.db"),
    ],
)
def test_the_driver_is_always_explicit(given: str, explicit: str) -> None:
    assert explicit_url(given).render_as_string(hide_password=True) == explicit


@pytest.mark.parametrize("url", ["", "genre.db", "sqlite://", "sqlite:///:memory:", "mysql://h/d"])
def test_another_kind_of_database_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="sqlite:///path"):
        explicit_url(url)


def test_sqlite_is_prepared_on_every_connection(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new folder' / 'genre.db'}")
    with database.read() as connection:
        pragmas = ("journal_mode", "busy_timeout", "foreign_keys", "secure_delete")
        found = {name: connection.exec_driver_sql("PRAGMA " + name).scalar_one() for name in pragmas}
    assert found == {"journal_mode": "wal", "busy_timeout": 5000, "foreign_keys": 1, "secure_delete": 1}
    database.close()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "genre.db"
    path.write_bytes(b"this is no database, and longer than the header of one" * 100)
    with pytest.raises(TablesError, match="not a database"), Database(f"sqlite:///{path}").read():
        pass


def test_a_read_is_one_snapshot(database_url: str) -> None:
    database = Database(database_url)
    table = sa.Table("numbers", sa.MetaData(), sa.Column("number", sa.Integer))
    with database.write() as connection:
        table.create(connection)
    count = sa.select(sa.func.count()).select_from(table)
    with database.read() as reader:
        assert reader.execute(count).scalar_one() == 0
        with database.write("a lock") as writer:
            writer.execute(sa.insert(table).values(number=1))
        assert reader.execute(count).scalar_one() == 0
    with database.read() as reader:
        assert reader.execute(count).scalar_one() == 1
    database.close()
