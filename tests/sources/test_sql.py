"""SQL sources on a real SQLite file."""

import sqlite3
import uuid
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from genre_pipeline.contracts.errors import SourceError
from genre_pipeline.sources import sql
from genre_pipeline.sources.sql import read_sql

QUERY = "SELECT buyer AS user_id, sku AS item_id, at AS timestamp FROM sales ORDER BY rowid"


@pytest.fixture
def shop(tmp_path: Path) -> str:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE sales (buyer TEXT, sku INTEGER, at TEXT, price)")
        rows = [(f"{number:03d}", number, "2024-03-01T00:00:00Z", 1.5 if number % 2 else "many") for number in range(7)]
        connection.executemany("INSERT INTO sales VALUES (?, ?, ?, ?)", rows)
        connection.execute("CREATE TABLE hollow (user_id TEXT, item_id TEXT, timestamp TEXT)")
    connection.close()
    return f"sqlite:///{path}"


def test_a_query_gives_a_table_with_text_ids(shop: str) -> None:
    raw = read_sql(shop, {"interactions": QUERY, "items": "SELECT DISTINCT sku FROM sales"}, name="shop",
                   columns={"items": {"sku": "item_id"}})  # fmt: skip
    expected = {
        "user_id": [f"{number:03d}" for number in range(7)],
        "item_id": [str(number) for number in range(7)],
        "timestamp": ["2024-03-01T00:00:00Z"] * 7,
    }
    assert_frame_equal(raw.interactions.collect(), pl.DataFrame(expected))
    assert raw.items is not None
    assert (raw.items.collect().height, raw.users, raw.root, raw.name) == (7, None, None, "shop")


def test_batches_join_to_the_same_table(shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    query = QUERY.replace(" FROM", ", price FROM")
    whole = read_sql(shop, {"interactions": query}).interactions.collect()
    monkeypatch.setattr(sql, "_BATCH_ROWS", 1)
    assert_frame_equal(read_sql(shop, {"interactions": query}).interactions.collect(), whole)
    assert whole["price"].to_list() == ["many", "1.5", "many", "1.5", "many", "1.5", "many"]


def test_uuids_become_text() -> None:
    ids = (uuid.UUID(int=1), None)
    assert sql._series("user_id", ids).to_list() == [str(ids[0]), None]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT * FROM absent", "no such table: absent"),
        ("SELEC", "syntax error"),
        ("SELECT buyer AS user_id FROM sales", "lacks a required column"),
        ("SELECT * FROM hollow", "has no rows"),
        ("SELECT :when AS timestamp", "when"),
    ],
)
def test_a_query_that_cannot_serve_is_refused(shop: str, query: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read_sql(shop, {"interactions": query})


@pytest.mark.parametrize(
    "url", ["nonsense", "oracle+absent://u:secret@h/d", "oracle://u:secret@h/d", "sqlite:////no/such/x.db"]
)
def test_a_database_that_cannot_be_opened_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SourceError) as raised:
        read_sql(url, {"interactions": "SELECT 1"})
    assert "secret" not in str(raised.value)
