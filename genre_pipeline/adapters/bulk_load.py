"""Frames folded into the tables' rows, and whole runs written and read back in bulk.

What belongs here: the fold (long lists to one row a key), the fingerprint of what is staged, COPY into PostgreSQL and
one prepared INSERT into SQLite, and the way back for verification. What does not: whether a run may be written.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl
import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from genre_pipeline.adapters import copy_format
from genre_pipeline.adapters.table_definitions import RUN_TABLES
from genre_pipeline.adapters.table_records import PublicationExpectation
from genre_pipeline.contracts.columns import (
    AUDIO,
    AVAILABLE,
    CATEGORIES,
    IMAGE,
    ITEM_ID,
    RANK,
    REASONS,
    SCORE,
    TITLE,
    USER_ID,
    VARIANT,
)
from genre_pipeline.contracts.errors import ContractError, PublishRefusedError

BLOCK_ROWS = 20_000
"""Rows encoded, written or read back at a time: bounds the memory beside the frames themselves."""
DEFAULT_VARIANT = "default"
_TEXTS, _SCORES = pl.List(pl.String), pl.List(pl.Float32)
STORED_SCHEMAS: dict[str, dict[str, pl.DataType]] = {
    "recommendations": {
        USER_ID: pl.String(),
        "item_ids": _TEXTS,
        "scores": _SCORES,
        REASONS: pl.String(),
        VARIANT: pl.String(),
    },
    "similar_items": {ITEM_ID: pl.String(), "item_ids": _TEXTS, "scores": _SCORES},
    "popular_items": {"category": pl.String(), "item_ids": _TEXTS, "scores": _SCORES},
    "catalogue": {
        ITEM_ID: pl.String(),
        TITLE: pl.String(),
        CATEGORIES: _TEXTS,
        IMAGE: pl.String(),
        AUDIO: pl.String(),
        AVAILABLE: pl.Boolean(),
    },
}
"""Each run table's columns without `run_id`, as frames hold them. `reasons` is JSON text."""


@dataclass(frozen=True)
class FoldedRun:
    """A run's rows, ready to be written: frames by table name, in the schemas above, sorted by key."""

    frames: dict[str, pl.DataFrame]

    @property
    def expectation(self) -> PublicationExpectation:
        """What publishing will compare the tables with."""
        users = self.frames["recommendations"]
        return PublicationExpectation(users.height, _list_rows(users), fingerprint_of(self.frames))


def fold(
    recommendations: pl.DataFrame, similar: pl.DataFrame, popular: pl.DataFrame, catalogue: pl.DataFrame
) -> FoldedRun:
    """Long frames (`Recommendations` with `reasons`, `SimilarItems`, `PopularItems`, `Items`) as the tables' rows.

    `recommendations` may have the column `variant`, the same in all rows of a user; without it, it is `default`.

    Raises `PublishRefusedError` where a list is not ranked 1 to n, for a stored list has no place for a gap, and
    `ContractError` where a column is missing or a text holds a NUL, which PostgreSQL cannot store.
    """
    if REASONS not in recommendations.columns:
        raise ContractError("recommendations has no column 'reasons'", remedy="Add it, List(String).")
    reasoned = recommendations.with_columns(pl.col(REASONS).list.drop_nulls().fill_null([]))
    if VARIANT not in reasoned.columns:
        reasoned = reasoned.with_columns(pl.lit(DEFAULT_VARIANT).alias(VARIANT))
    by_user = _lists(reasoned, USER_ID, ITEM_ID, REASONS, VARIANT)
    frames = {
        "recommendations": by_user.with_columns(_json_text(pl.col(REASONS)), pl.col(VARIANT).list.first()),
        "similar_items": _lists(similar, ITEM_ID, "similar_item_id"),
        "popular_items": _lists(popular, "category", ITEM_ID),
        "catalogue": catalogue.sort(ITEM_ID),
    }
    stored = {
        name: frame.select(pl.col(column).cast(kind) for column, kind in STORED_SCHEMAS[name].items())
        for name, frame in frames.items()
    }
    # Reasons are looked at before they are JSON, where NUL is an escape that ordinary text may resemble.
    for name, frame in (stored | {"recommendations": reasoned}).items():
        _refuse_nul(name, frame)
    return FoldedRun(stored)


def run_id_for(day: date, fingerprint: str) -> str:
    """The name of a result: its day and what it holds. Computing the same again gives the same name."""
    return f"{day.isoformat()}-{fingerprint[:12]}"


def fingerprint_of(frames: dict[str, pl.DataFrame]) -> str:
    """sha256 over all tables of a run, rows in the order of their keys."""
    digest = hashlib.sha256()
    for table in RUN_TABLES:
        rows = hashlib.sha256()
        for block in frames[table.name].iter_slices(BLOCK_ROWS):
            add_to_fingerprint(rows, block)
        digest.update(rows.digest())
    return digest.hexdigest()


def add_to_fingerprint(digest: "hashlib._Hash", block: pl.DataFrame) -> None:
    """Each row as one line of JSON. Runs without variants keep the fingerprint they had before there were any."""
    if VARIANT in block.columns and (block[VARIANT] == DEFAULT_VARIANT).all():
        block = block.drop(VARIANT)
    lines = block.select(pl.struct(pl.all()).struct.json_encode()).to_series()
    digest.update((lines.str.join("\n").item() or "").encode())
    digest.update(b"\n" * bool(block.height))


def write_run(connection: sa.Connection, run_id: str, run: FoldedRun) -> None:
    """Replace the rows of a run, in the caller's transaction."""
    for table in RUN_TABLES:
        connection.execute(sa.delete(table).where(table.c.run_id == run_id))
        rows = run.frames[table.name].select(pl.lit(run_id).alias("run_id"), pl.all())
        if connection.dialect.name == "postgresql":
            _copy(connection, table, rows)
        else:
            _insert(connection, table, rows)


def read_table(connection: sa.Connection, table: sa.Table, run_id: str) -> Iterator[pl.DataFrame]:
    """The stored rows of a run in blocks, sorted by key, in `STORED_SCHEMAS`."""
    schema = STORED_SCHEMAS[table.name]
    is_postgresql = connection.dialect.name == "postgresql"
    columns = [_readable(table.c[name], kind, is_postgresql) for name, kind in schema.items()]
    key = next(column for column in table.primary_key.columns if column.name != "run_id")
    query = sa.select(*columns).where(table.c.run_id == run_id).order_by(key)
    raw = {name: pl.Boolean if kind == pl.Boolean else pl.String for name, kind in schema.items()}
    decode = [_decoded(name, kind) for name, kind in schema.items() if isinstance(kind, pl.List)]
    result = connection.execution_options(stream_results=True).execute(query)
    for rows in result.partitions(BLOCK_ROWS):
        yield pl.DataFrame([tuple(row) for row in rows], schema=raw, orient="row").with_columns(decode)


def _lists(frame: pl.DataFrame, key: str, item: str, *more: str) -> pl.DataFrame:
    """One row a key: item_ids, scores and the columns `more`, by rank."""
    ordered = frame.sort(key, RANK)
    is_whole = (pl.col(RANK) == pl.int_range(1, pl.len() + 1).over(key)) & pl.col(item).is_not_null()
    broken = ordered.filter((is_whole & pl.col(SCORE).is_finite()).fill_null(False).not_())
    if broken.height:
        raise PublishRefusedError(
            f"Lists by {key} are not ranked 1 to n with an item and a finite score at each rank",
            remedy="Rank each list from 1 without gaps or repeats.",
            culprits=broken[key].unique(maintain_order=True).to_list(),
        )
    # A zero loses its sign, for JSON does not keep it and a fingerprint would. (polars drops `+ 0.0` as idle.)
    score = pl.when(pl.col(SCORE) == 0).then(pl.lit(0.0, pl.Float32)).otherwise(pl.col(SCORE))
    gathered = [pl.col(item).alias("item_ids"), score.alias("scores"), *more]
    return ordered.group_by(key, maintain_order=True).agg(gathered)


def _json_text(column: pl.Expr) -> pl.Expr:
    """A list column as JSON text. polars encodes structs only, hence the wrapping that is cut off again."""
    wrapped = pl.struct(column.alias("x")).struct.json_encode()
    return wrapped.str.strip_prefix('{"x":').str.head(-1).alias(column.meta.output_name())


def _list_rows(lists: pl.DataFrame) -> int:
    return int(lists.select(pl.col("item_ids").list.len().cast(pl.Int64).sum()).item())


def _refuse_nul(table: str, frame: pl.DataFrame) -> None:
    texts = [pl.col(name) for name, kind in frame.schema.items() if kind == pl.String]
    texts += [pl.col(name).list.join("") for name, kind in frame.schema.items() if kind == _TEXTS]
    bad = frame.filter(pl.any_horizontal(text.str.contains("\0", literal=True) for text in texts))
    if bad.height:
        raise ContractError(
            f"{table} has texts with the character NUL, which a database cannot hold",
            remedy="Strip it in preprocessing.",
            culprits=bad.to_series(0).to_list(),
        )


def _copy(connection: sa.Connection, table: sa.Table, rows: pl.DataFrame) -> None:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    names = psycopg.sql.SQL(", ").join(psycopg.sql.Identifier(name) for name in rows.columns)
    statement = psycopg.sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)")
    with driver.cursor() as cursor, cursor.copy(statement.format(psycopg.sql.Identifier(table.name), names)) as copy:
        copy.write(copy_format.HEADER)
        for block in rows.iter_slices(BLOCK_ROWS):
            copy.write(copy_format.copy_block(block))
        copy.write(copy_format.TRAILER)


def _insert(connection: sa.Connection, table: sa.Table, rows: pl.DataFrame) -> None:
    """Straight to the driver: every value is text, a number or JSON text already, so that no type has work to do."""
    bare = sa.table(table.name, *(sa.column(name) for name in rows.columns))
    statement = str(sa.insert(bare).compile(dialect=connection.dialect))
    lists = [_json_text(pl.col(name)) for name, kind in rows.schema.items() if isinstance(kind, pl.List)]
    for block in rows.iter_slices(BLOCK_ROWS):
        connection.exec_driver_sql(statement, block.with_columns(lists).rows())


def _decoded(name: str, kind: pl.List) -> pl.Expr:
    """Scores through double precision, where every decimal of theirs finds its way back to the same float."""
    if kind == _SCORES:
        return pl.col(name).str.json_decode(pl.List(pl.Float64)).cast(_SCORES)
    return pl.col(name).str.json_decode(kind)


def _readable(column: sa.Column[Any], kind: pl.DataType, is_postgresql: bool) -> sa.ColumnElement[Any]:
    """Lists and documents as JSON text, made by the server: parsing arrays value by value in Python is slow."""
    if kind == pl.Boolean:
        return column
    if is_postgresql and isinstance(kind, pl.List):
        exact = sa.cast(column, postgresql.ARRAY(sa.Double)) if kind == _SCORES else column
        return sa.cast(sa.func.array_to_json(exact), sa.Text())
    if is_postgresql:
        return sa.cast(column, sa.Text())
    return sa.type_coerce(column, sa.Text())
