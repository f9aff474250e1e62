"""Reading published lists by key: the pointer, the list, its titles, in one snapshot.

What belongs here: the few statements a service runs for every request, built once, because building one costs more
than running it. What does not: writing, and anything about more than one list.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

import orjson
import polars as pl
import sqlalchemy as sa

from genre_pipeline.adapters.bulk_load import STORED_SCHEMAS
from genre_pipeline.adapters.database import Database
from genre_pipeline.adapters.table_definitions import (
    catalogue,
    popular_items,
    publication,
    recommendations,
    runs,
    similar_items,
)
from genre_pipeline.adapters.table_records import (
    ItemList,
    ListedItem,
    PublishedRow,
    RecommendedItem,
    UserRecommendations,
)
from genre_pipeline.contracts.columns import ITEM_ID
from genre_pipeline.contracts.errors import NotPublishedError

_IDS_AT_A_TIME = 10_000
"""SQLite takes 32,766 parameters in a statement."""


def user_recommendations(connection: sa.Connection, user_id: str, k: int, surface: str) -> UserRecommendations | None:
    """A user's first `k` recommendations; None without a list."""
    found = _find_list(connection, recommendations, user_id, surface)
    if found is None:
        return None
    run_id, as_of, item_ids, scores, reasons, variant = found
    titles = _titles(connection, run_id, item_ids[:k])
    places = enumerate(zip(item_ids[:k], scores, reasons, strict=False), start=1)
    rows = tuple(
        RecommendedItem(item, titles.get(item), rank, score, tuple(why)) for rank, (item, score, why) in places
    )
    return UserRecommendations(user_id, run_id, as_of, rows, variant)


def published_row(database: Database, user_id: str, surface: str) -> PublishedRow | None:
    """A user's list as it is stored; None without one."""
    if not is_storable(user_id):
        return None
    statement, order = _row_statement(database)
    values = {"key": user_id, "surface": surface}
    row = database.fetch_one(statement, [values[name] for name in order] if order else values)
    if row is None:
        with database.read() as connection:
            _live_run_id(connection, surface)
        return None
    run_id, item_ids, scores, reasons, variant = row
    if isinstance(item_ids, str):  # SQLite keeps lists as JSON
        item_ids, scores, reasons = orjson.loads(item_ids), orjson.loads(scores), orjson.loads(reasons)
    return PublishedRow(run_id, item_ids, scores, reasons, variant)


def similar_list(connection: sa.Connection, item_id: str, k: int, surface: str) -> ItemList | None:
    """The `k` nearest items of an item; None without any."""
    return _item_list(connection, similar_items, item_id, k, surface)


def popular_list(connection: sa.Connection, category: str, k: int, surface: str) -> ItemList | None:
    """The `k` most popular items of a category; None for an unknown one."""
    return _item_list(connection, popular_items, category, k, surface)


def catalogue_rows(connection: sa.Connection, item_ids: Sequence[str], surface: str) -> pl.DataFrame:
    """The published catalogue's rows of these items, in their order, each once."""
    wanted = list(dict.fromkeys(item_id for item_id in item_ids if is_storable(item_id)))
    schema = STORED_SCHEMAS["catalogue"]
    query = _catalogue_query(tuple(schema))
    run_id = _live_run_id(connection, surface)
    rows: list[tuple[Any, ...]] = []
    for start in range(0, len(wanted), _IDS_AT_A_TIME):
        some = wanted[start : start + _IDS_AT_A_TIME]
        rows.extend(tuple(row) for row in connection.execute(query, {"run": run_id, "ids": some}))
    order = pl.DataFrame({ITEM_ID: wanted}, schema={ITEM_ID: pl.String})
    return order.join(pl.DataFrame(rows, schema=schema, orient="row"), on=ITEM_ID, maintain_order="left")


def is_storable(text: str) -> bool:
    """Whether a database can hold this text at all: an id with NUL or half a surrogate pair belongs to nobody."""
    if text.isascii():
        return "\0" not in text
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _item_list(connection: sa.Connection, table: sa.Table, key: str, k: int, surface: str) -> ItemList | None:
    found = _find_list(connection, table, key, surface)
    if found is None:
        return None
    run_id, as_of, item_ids, scores = found
    titles = _titles(connection, run_id, item_ids[:k])
    places = enumerate(zip(item_ids[:k], scores, strict=False), start=1)
    return ItemList(key, run_id, as_of, tuple(ListedItem(i, titles.get(i), rank, score) for rank, (i, score) in places))


def _find_list(
    connection: sa.Connection, table: sa.Table, key: str, surface: str
) -> tuple[str, datetime, *tuple[Any, ...]] | None:
    """run_id, as_of and the live row of a list, by primary key; `NotPublishedError` where the surface shows nothing."""
    if is_storable(key):
        row = connection.execute(_list_query(table), {"key": key, "surface": surface}).one_or_none()
        if row is not None:
            return tuple(row)
    _live_run_id(connection, surface)
    return None


def _live_run_id(connection: sa.Connection, surface: str) -> str:
    query = sa.select(publication.c.run_id).where(publication.c.surface == surface)
    run_id = connection.execute(query).scalar_one_or_none()
    if run_id is None:
        raise NotPublishedError(
            f"Nothing has been published for {surface!r}", remedy="Run the nightly job: `genre run`."
        )
    return str(run_id)


def _titles(connection: sa.Connection, run_id: str, item_ids: Sequence[str]) -> dict[str, str | None]:
    rows = connection.execute(_catalogue_query((ITEM_ID, "title")), {"run": run_id, "ids": item_ids})
    return {row.item_id: row.title for row in rows}


@cache
def _list_query(table: sa.Table) -> sa.Select[tuple[Any, ...]]:
    key = next(column for column in table.primary_key.columns if column.name != "run_id")
    columns = [column for column in table.columns if column.name not in ("run_id", key.name)]
    return (
        sa.select(publication.c.run_id, runs.c.as_of, *columns)
        .join(runs, runs.c.run_id == publication.c.run_id)
        .join(table, sa.and_(table.c.run_id == publication.c.run_id, key == sa.bindparam("key")))
        .where(publication.c.surface == sa.bindparam("surface"))
    )


@cache
def _row_statement(database: Database) -> tuple[str, tuple[str, ...]]:
    names = ("item_ids", "scores", "reasons", "variant")
    query = (
        sa.select(publication.c.run_id, *(recommendations.c[name] for name in names))
        .join(
            recommendations,
            sa.and_(recommendations.c.run_id == publication.c.run_id, recommendations.c.user_id == sa.bindparam("key")),
        )
        .where(publication.c.surface == sa.bindparam("surface"))
    )
    return database.compiled(query)


@cache
def _catalogue_query(columns: tuple[str, ...]) -> sa.Select[tuple[Any, ...]]:
    is_wanted = catalogue.c.item_id.in_(sa.bindparam("ids", expanding=True))
    return sa.select(*(catalogue.c[name] for name in columns)).where(
        catalogue.c.run_id == sa.bindparam("run"), is_wanted
    )
