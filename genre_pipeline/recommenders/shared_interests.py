"""A reason of its own: the interests of a user's profile that a listed item carries. By template, from data alone."""

from dataclasses import dataclass

import polars as pl

from genre_pipeline.contracts.columns import ITEM_ID, REASONS, USER_ID

_INTEREST, _PLACE, _SENTENCE = "interest", "place", "sentence"
_NAMED = 2
"""Interests named in one sentence: the two that weigh most for the user."""


@dataclass(frozen=True)
class Interests:
    """Who is interested in what, and which item is about it."""

    of_users: pl.DataFrame
    """user_id and interests (List(String)), the one that weighs most first."""
    of_items: pl.DataFrame
    """item_id and interest, each pair once."""


def with_shared_interests(lists: pl.DataFrame, interests: Interests) -> pl.DataFrame:
    """`lists` (user_id, item_id, reasons and more) where a shared interest is a reason more, before the last one.

    The last reason says what carried most of the score, and what is before it is nearer to the user.
    """
    mine = interests.of_users.select(
        USER_ID,
        pl.col("interests").alias(_INTEREST),
        pl.int_ranges(pl.col("interests").list.len()).alias(_PLACE),
    ).explode(_INTEREST, _PLACE)
    listed = lists.select(USER_ID, ITEM_ID).unique()
    shared = listed.join(interests.of_items, on=ITEM_ID).join(mine, on=[USER_ID, _INTEREST])
    named = (
        shared.sort(USER_ID, ITEM_ID, _PLACE)
        .group_by(USER_ID, ITEM_ID, maintain_order=True)
        .agg(pl.col(_INTEREST).head(_NAMED).str.join(" and "))
        .select(USER_ID, ITEM_ID, pl.format("Matches your interest in {}", _INTEREST).alias(_SENTENCE))
    )
    joined = lists.join(named, on=[USER_ID, ITEM_ID], how="left", maintain_order="left")
    last = pl.col(REASONS).list.len() - 1
    reasons = pl.concat_list(pl.col(REASONS).list.head(last), _SENTENCE, pl.col(REASONS).list.tail(1))
    return joined.with_columns(reasons.list.drop_nulls().alias(REASONS)).drop(_SENTENCE)
