"""Recommendations a second into the tables, against executemany of single rows of the same lists.

`python benchmarks/publish.py [URL …]`. Without a URL: SQLite in a temporary folder. Give `postgresql://…` of an empty
database to measure it too. Compare the ratios; the rates belong to the machine.
"""

import platform
import sys
import tempfile
import time
from datetime import UTC, date, datetime

import numpy as np
import polars as pl
import sqlalchemy as sa

from genre_pipeline.adapters.database import Database
from genre_pipeline.adapters.tables import RunRecord, Tables

USERS, LENGTH, ITEMS, SINGLE_ROWS = 100_000, 10, 20_000, 100_000
RANKED = {"rank": pl.UInt32, "score": pl.Float32}


def frames() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    generator = np.random.default_rng(1)
    starts = np.repeat(generator.integers(0, ITEMS, USERS), LENGTH)
    ranks = np.tile(np.arange(1, LENGTH + 1), USERS)
    recommendations = pl.DataFrame({"user": np.repeat(np.arange(USERS), LENGTH), "rank": ranks}).select(
        user_id=pl.format("user-{}", "user"),
        item_id=pl.format("item-{}", pl.Series((starts + ranks) % ITEMS)),
        rank=pl.col("rank").cast(pl.UInt32),
        score=pl.Series(generator.random(USERS * LENGTH), dtype=pl.Float32),
    )
    reasoned = recommendations.with_columns(reasons=pl.concat_list(pl.format("Because you liked {}", "item_id")))
    similar = pl.DataFrame(schema={"item_id": pl.String, "similar_item_id": pl.String, **RANKED})
    popular = pl.DataFrame(schema={"category": pl.String, "item_id": pl.String, **RANKED})
    catalogue = pl.select(number=pl.int_range(ITEMS)).select(
        item_id=pl.format("item-{}", "number"), title=pl.format("Title {}", "number"),
        categories=pl.lit(["drama"]), image=pl.lit(None, pl.String), audio=pl.lit(None, pl.String), available=True,
    )  # fmt: skip
    return reasoned, similar, popular, catalogue


def single_rows(url: str, recommendations: pl.DataFrame) -> float:
    """Rows a second of one row a recommendation, keyed, by executemany."""
    names = ("user_id", "rank", "item_id", "score")
    columns = [sa.Column("user_id", sa.Text, primary_key=True), sa.Column("rank", sa.Integer, primary_key=True)]
    table = sa.Table("single_rows", sa.MetaData(), *columns, sa.Column("item_id", sa.Text), sa.Column("score", sa.REAL))
    rows = recommendations.head(SINGLE_ROWS).select(names).rows()
    database = Database(url)
    marker = "%s" if database.is_postgresql else "?"
    statement = "INSERT INTO single_rows VALUES (" + ", ".join([marker] * 4) + ")"
    with database.write() as connection:
        table.create(connection)
    start = time.perf_counter()
    with database.write() as connection:
        connection.exec_driver_sql(statement, rows)
    seconds = time.perf_counter() - start
    with database.write() as connection:
        table.drop(connection)
    database.close()
    return len(rows) / seconds


def measure(url: str) -> None:
    tables = Tables(url)
    tables.migrate()
    given = frames()
    now = datetime.now(UTC)
    run = RunRecord(f"benchmark-{now.timestamp()}", date(2026, 1, 1), now, "", "", {}, {})
    start = time.perf_counter()
    expected = tables.stage(run, *given)
    staged = time.perf_counter()
    tables.publish(run.run_id, expected=expected)
    published = time.perf_counter()
    ours, single = expected.rows / (staged - start), single_rows(url, given[0])
    print(
        f"{tables.health().database.split(':')[0]}: stage {ours:,.0f} recommendations/s with fold and fingerprint, "
        f"executemany of single rows {single:,.0f}/s, ratio {ours / single:.1f}; verify and publish "
        f"{published - staged:.2f} s"
    )
    start = time.process_time()
    for user in range(2_000):
        tables.recommendations_for(f"user-{user}")
    print(f"  one user's list: {(time.process_time() - start) / 2_000 * 1e6:.0f} µs of CPU in this process")
    tables.close()


if __name__ == "__main__":
    print(f"{platform.machine()}, Python {platform.python_version()}, {USERS * LENGTH:,} recommendations")
    with tempfile.TemporaryDirectory() as folder:
        for target in sys.argv[1:] or [f"sqlite:///{folder}/genre.db"]:
            measure(target)
