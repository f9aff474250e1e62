"""What a staged run must prove before it is shown: its rows are all there, whole, and are those that were staged.

What belongs here: the checks, on rows read back from the database, the same on every database. What does not: who asks.
"""

import hashlib
from typing import Any

import polars as pl
import sqlalchemy as sa

from genre_pipeline.adapters.bulk_load import add_to_fingerprint, read_table
from genre_pipeline.adapters.table_definitions import RUN_TABLES, catalogue
from genre_pipeline.adapters.table_records import PublicationExpectation
from genre_pipeline.contracts.errors import PublishRefusedError

_REMEDY = "What was published stays. Materialise the recommendations again, then publish."


def verify(connection: sa.Connection, run: sa.RowMapping, expected: PublicationExpectation) -> None:
    """Read a run back in blocks and raise `PublishRefusedError` at the first thing that is not as it was recorded."""
    run_id = run["run_id"]
    if run["status"] not in ("staged", "published"):
        raise PublishRefusedError(f"Run {run_id!r} is {run['status']}: its rows are gone", remedy=_REMEDY)
    _compare_record(run, expected)
    items = connection.scalars(sa.select(catalogue.c.item_id).where(catalogue.c.run_id == run_id))
    known = pl.Series("item_id", items.all(), dtype=pl.String)
    counts, digest = {}, hashlib.sha256()
    for table in RUN_TABLES:
        rows = hashlib.sha256()
        counts[table.name] = _check_table(connection, table, run_id, known, rows)
        digest.update(rows.digest())
    _compare_counts(run, *counts["recommendations"])
    if not run["erased_users"] and digest.hexdigest() != run["fingerprint"]:
        raise PublishRefusedError(f"The rows of run {run_id!r} are not those that were staged", remedy=_REMEDY)


def _compare_record(run: sa.RowMapping, expected: PublicationExpectation) -> None:
    wanted: dict[str, Any] = {"users": expected.users, "rows": expected.rows}
    if expected.fingerprint:
        wanted["fingerprint"] = expected.fingerprint
    differing = [
        f"{name}: expected {value}, staged {run[name]}" for name, value in wanted.items() if run[name] != value
    ]
    if differing:
        raise PublishRefusedError(
            f"Run {run['run_id']!r} holds something else than its publisher expects", remedy=_REMEDY, culprits=differing
        )
    if expected.users == 0:
        raise PublishRefusedError(f"Run {run['run_id']!r} has no list for anybody", remedy=_REMEDY)


def _compare_counts(run: sa.RowMapping, users: int, rows: int) -> None:
    found = {"users": users + run["erased_users"], "rows": rows + run["erased_rows"]}
    differing = [f"{name}: staged {run[name]}, found {count}" for name, count in found.items() if run[name] != count]
    if differing:
        raise PublishRefusedError(
            f"Run {run['run_id']!r} has lost or gained rows since it was staged", remedy=_REMEDY, culprits=differing
        )


def _check_table(
    connection: sa.Connection, table: sa.Table, run_id: str, known: pl.Series, digest: "hashlib._Hash"
) -> tuple[int, int]:
    """Check every block of a table; keys and list places found."""
    keys = places = 0
    for block in read_table(connection, table, run_id):
        add_to_fingerprint(digest, block)
        keys += block.height
        if table is not catalogue:
            _check_lists(block, table.name, run_id, known)
            places += int(block.select(pl.col("item_ids").list.len().cast(pl.Int64).sum()).item())
    return keys, places


def _check_lists(block: pl.DataFrame, table: str, run_id: str, known: pl.Series) -> None:
    key = block.columns[0]
    length = pl.col("item_ids").list.len()
    lengths = [pl.col("scores").list.len()]
    if "reasons" in block.columns:
        lengths.append(pl.col("reasons").str.json_decode(pl.List(pl.List(pl.String))).list.len())
    is_whole = pl.all_horizontal([length > 0, *(other == length for other in lengths)]).fill_null(False)
    _refuse(block.filter(is_whole.not_())[key], f"{table} of run {run_id!r} has lists with gaps")
    is_distinct = pl.col("item_ids").list.n_unique() == length
    _refuse(block.filter(is_distinct.not_())[key], f"{table} of run {run_id!r} has an item twice in a list")
    listed = block["item_ids"].explode().unique(maintain_order=True)
    _refuse(listed.filter(listed.is_in(known.implode()).not_()), f"{table} of run {run_id!r} lists unknown items")


def _refuse(culprits: pl.Series, problem: str) -> None:
    if len(culprits):
        raise PublishRefusedError(problem, remedy=_REMEDY, culprits=culprits.to_list())
