"""A few users to look at: numbers persuade nobody who has not seen a list.

Belongs here: the choice of example users and the shape they take for the report.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from genre_pipeline.contracts.columns import CATEGORIES, ITEM_ID, RANK, RECOMMENDER, TITLE, USER_ID
from genre_pipeline.evaluation.metrics import top_ranks
from genre_pipeline.evaluation.result import ExampleItem, ExampleUser

_HISTORY_SHOWN = 10


def example_users(
    recommendations: pl.DataFrame,
    truth: pl.DataFrame,
    users: pl.DataFrame,
    items: pl.DataFrame,
    history: pl.DataFrame | None,
    *,
    recommenders: Sequence[str],
    k: int,
    count: int = 3,
) -> tuple[ExampleUser, ...]:
    """Users of the truth spread evenly over the order of history length, whether their lists are good or not.

    Frames as in `EvaluationInputs`; `recommenders` are those to show, in that order. The same input gives the same
    users. An item without a title is shown by its id.
    """
    judged = (
        truth.select(USER_ID)
        .unique()
        .join(users, on=USER_ID, how="left")
        .with_columns(pl.col("history_length").fill_null(0))
        .sort("history_length", USER_ID)
    )
    picked = judged[_spread(len(judged), count)]
    ids = picked[USER_ID].implode()
    facts = items.select(ITEM_ID, TITLE, CATEGORIES)
    shown = recommendations.filter(pl.col(USER_ID).is_in(ids), pl.col(RECOMMENDER).is_in(list(recommenders)))
    lists = _described(top_ranks(shown, k).sort(RECOMMENDER, USER_ID, RANK), facts, truth)
    relevant = _described(truth.filter(pl.col(USER_ID).is_in(ids)).sort(USER_ID, ITEM_ID), facts, truth)
    past = truth.clear() if history is None else history.filter(pl.col(USER_ID).is_in(ids))
    pasts = _described(past, facts, truth)
    return tuple(
        ExampleUser(
            user_id=user,
            history_length=length,
            history=_items(pasts.filter(pl.col(USER_ID) == user).tail(_HISTORY_SHOWN).reverse()),
            relevant=_items(relevant.filter(pl.col(USER_ID) == user)),
            lists={
                name: _items(lists.filter(pl.col(USER_ID) == user, pl.col(RECOMMENDER) == name))
                for name in recommenders
            },
        )
        for user, length in picked.select(USER_ID, "history_length").rows()
    )


def _spread(size: int, count: int) -> list[int]:
    # The middles of `count` equal parts: neither the shortest nor the longest history stands for all.
    places = (np.arange(count) + 0.5) / max(count, 1) * size
    return sorted({int(place) for place in places})


def _described(rows: pl.DataFrame, facts: pl.DataFrame, truth: pl.DataFrame) -> pl.DataFrame:
    hits = truth.select(USER_ID, ITEM_ID).unique().with_columns(pl.lit(True).alias("is_hit"))
    named = rows.join(facts, on=ITEM_ID, how="left", maintain_order="left")
    return named.join(hits, on=[USER_ID, ITEM_ID], how="left", maintain_order="left").with_columns(
        pl.col("is_hit").fill_null(False), pl.coalesce(TITLE, ITEM_ID).alias(TITLE)
    )


def _items(rows: pl.DataFrame) -> tuple[ExampleItem, ...]:
    return tuple(
        ExampleItem(item_id=item_id, title=title, categories=tuple(categories or ()), is_hit=is_hit)
        for item_id, title, categories, is_hit in rows.select(ITEM_ID, TITLE, CATEGORIES, "is_hit").rows()
    )
