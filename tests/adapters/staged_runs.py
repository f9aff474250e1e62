"""Small runs for the tests of the tables: every list says by its scores which run it belongs to."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import polars as pl

from genre_pipeline.adapters.tables import Publication, PublicationExpectation, RunRecord, Tables

FIRST_DAY = date(2026, 3, 1)
NOW = datetime(2026, 4, 1, 3, tzinfo=UTC)
_RANKED = {"rank": pl.UInt32, "score": pl.Float32}
_Lists = Mapping[str, Sequence[str]]


def a_day(number: int) -> date:
    return FIRST_DAY + timedelta(days=number)


def a_run(run_id: str, day: date = FIRST_DAY) -> RunRecord:
    return RunRecord(run_id, day, NOW, "model 1", "code 1", {"seed": 1, "weights": [0.5]}, {"ndcg@10": 0.25})


def lists_of(lists: _Lists, key: str = "user_id", item: str = "item_id", mark: float = 0.0) -> pl.DataFrame:
    """Ranked rows of `key` to `item`; scores fall from `mark` + 1."""
    rows = [
        (owner, listed, rank, mark + 1 / rank)
        for owner, items in lists.items()
        for rank, listed in enumerate(items, start=1)
    ]
    return pl.DataFrame(rows, schema={key: pl.String, item: pl.String, **_RANKED}, orient="row")


def recommended(lists: _Lists, mark: float = 0.0) -> pl.DataFrame:
    reason = pl.concat_list(pl.lit("Because of ") + pl.col("item_id"))
    return lists_of(lists, mark=mark).with_columns(reason.alias("reasons"))


def a_catalogue(item_ids: Sequence[str]) -> pl.DataFrame:
    """item_id, title "Title of …" (none for the first), categories, image, audio, available."""
    first = pl.int_range(pl.len()) == 0
    return pl.DataFrame({"item_id": item_ids}, schema={"item_id": pl.String}).with_columns(
        title=pl.when(first).then(None).otherwise(pl.lit("Title of ") + pl.col("item_id")),
        categories=pl.when(first).then(pl.lit([], pl.List(pl.String))).otherwise(pl.lit(["a", "b"])),
        image=pl.lit(None, pl.String),
        audio=pl.lit("sound.wav"),
        available=first,
    )


def frames(
    users: int = 4, length: int = 3, mark: float = 0.0
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Recommendations, similar items, popular items, catalogue."""
    items = [f"i{number}" for number in range(length + 2)]
    lists = {f"u{user}": [items[(user + place) % len(items)] for place in range(length)] for user in range(users)}
    similar = lists_of({"i0": ["i1", "i2"], "i1": ["i0"]}, "item_id", "similar_item_id", mark)
    popular = lists_of({"": ["i1", "i0"], "a": ["i1"]}, "category", "item_id", mark)
    return recommended(lists, mark), similar, popular, a_catalogue(items)


def stage(
    tables: Tables, run_id: str, day: date = FIRST_DAY, mark: float = 0.0, users: int = 4
) -> PublicationExpectation:
    return tables.stage(a_run(run_id, day), *frames(users=users, mark=mark))


def publish(tables: Tables, run_id: str, day: date = FIRST_DAY, mark: float = 0.0, users: int = 4) -> Publication:
    return tables.publish(run_id, expected=stage(tables, run_id, day, mark, users))
