"""A small world with a clear signal, for the tests of recommenders: two crowds, each with its own six items.

Everybody of a crowd takes its items in one round, a step each, and has not reached the last two yet. So what comes
next is known: the next item of the own crowd. Content tells the crowds apart too.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from genre_pipeline.contracts.training_set import TrainingSet, build_training_set

AS_OF = datetime(2024, 1, 1, tzinfo=UTC)
CROWD = 6
N_USERS = 24
N_ITEMS = 2 * CROWD
GONE = "i04"
"""In the catalogue, taken, and no longer available."""
NEW = "i90"
"""In the catalogue, with the first crowd's content; nobody has taken it."""
BLANK = "i91"
"""In the catalogue, without any content; nobody has taken it."""
Rows = Sequence[tuple[str, str, datetime]]


def rows() -> list[tuple[str, str, datetime]]:
    """(user, item, time), four a user, all times distinct; in the order of users."""
    return [
        (f"u{user:02d}", item_of(user, step), AS_OF - timedelta(hours=200 - 24 * step, minutes=user))
        for user in range(N_USERS)
        for step in range(4)
    ]


def item_of(user: int, step: int) -> str:
    """The item that a user takes in a step: even users are of the first crowd."""
    return f"i{(user % 2) * CROWD + (user // 2 + step) % CROWD:02d}"


def own_items(user: int) -> set[str]:
    return {f"i{(user % 2) * CROWD + place:02d}" for place in range(CROWD)}


def interactions(of: Rows) -> pl.DataFrame:
    schema = {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Datetime("us", "UTC")}
    return pl.DataFrame(of, schema=schema, orient="row").with_columns(
        event=pl.lit("view"), value=pl.lit(None, pl.Float64)
    )


def items() -> pl.DataFrame:
    ids = [*(f"i{number:02d}" for number in range(N_ITEMS)), NEW, BLANK]
    crowds = [["first"] if number < CROWD else ["second"] for number in range(N_ITEMS)]
    return pl.DataFrame({"item_id": ids}).with_columns(
        title=pl.format("Title {}", "item_id"),
        available=pl.col("item_id") != GONE,
        published_at=pl.lit(None, pl.Datetime("us", "UTC")),
        categories=pl.Series([*crowds, ["first"], []], dtype=pl.List(pl.String)),
    )


def vectors() -> pl.DataFrame:
    """Of the schema `ItemVectors`: crowds point in two directions, an item a little in its own."""
    looks = np.zeros((N_ITEMS + 1, 2 + N_ITEMS), dtype=np.float32)
    looks[:CROWD, 0] = looks[CROWD:N_ITEMS, 1] = looks[N_ITEMS, 0] = 1.0
    looks[:N_ITEMS, 2:] = 0.2 * np.eye(N_ITEMS)
    ids = items()["item_id"].to_list()
    lists: list[list[float] | None] = [*looks.tolist(), None]
    return pl.DataFrame({"item_id": ids, "vector": pl.Series(lists, dtype=pl.List(pl.Float32))})


def training_set(of: Rows | None = None, *, with_vectors: bool = True) -> TrainingSet:
    return build_training_set(
        interactions(rows() if of is None else of),
        items(),
        as_of=AS_OF,
        item_vectors={"text_llm": vectors()} if with_vectors else None,
    )


def later() -> pl.DataFrame:
    """user_id, item_id: what everybody took after `AS_OF`, the fifth item of the own round."""
    taken = [(f"u{user:02d}", item_of(user, 4)) for user in range(N_USERS)]
    return pl.DataFrame(taken, schema=["user_id", "item_id"], orient="row")


def random_world(seed: int) -> TrainingSet:
    """15 users, 12 items and 120 interactions at random, within a week."""
    rng = np.random.default_rng(seed)
    minute = timedelta(minutes=1)
    rows = [
        (f"u{rng.integers(15):02d}", f"i{rng.integers(12):02d}", AS_OF - int(rng.integers(1, 9000)) * minute)
        for _ in range(120)
    ]
    return training_set(rows)
