"""How far the lists of two days differ, and the users whose list changed most, with titles.

Belongs here: the comparison of lists with lists. Whether a change is good is for `metrics` to say.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from genre_pipeline.contracts.columns import ITEM_ID, RANK, TITLE, USER_ID


@dataclass(frozen=True)
class ListedTitle:
    """An item of a list as it is shown."""

    title: str
    is_other: bool
    """The other day's list does not have it."""


@dataclass(frozen=True)
class ChangedList:
    """One user's list before and now."""

    user_id: str
    kept: int
    """Items that both lists have."""
    before: tuple[ListedTitle, ...]
    now: tuple[ListedTitle, ...]


@dataclass(frozen=True)
class ListChanges:
    """How the first `k` of all lists changed between two days."""

    k: int
    compared: int
    """Users with a list on both days."""
    new: int
    """Users with a list now alone."""
    gone: int
    """Users with a list before alone."""
    mean_kept: float | None
    """Mean share of a list that was in the list before; order is not looked at."""
    same_share: float | None
    """Share of users whose list holds the same items in the same order."""
    examples: tuple[ChangedList, ...]


def list_changes(before: pl.DataFrame, now: pl.DataFrame, titles: pl.DataFrame, *, k: int, count: int) -> ListChanges:
    """Compare lists (user_id, item_id, rank) of two days; `titles` has item_id and title.

    Examples are the `count` users who kept least, ties by user id; an item without a title is shown by its id.
    """
    old, new = (lists.filter(pl.col(RANK) <= k).select(USER_ID, ITEM_ID, RANK) for lists in (before, now))
    kept = _kept(old, new)
    share = pl.col("kept") / pl.max_horizontal("size", "size_before")
    means = kept.select(share.mean().alias("kept"), pl.col("is_same").mean().alias("same")).row(0, named=True)
    most = kept.filter(share < 1).sort(share, USER_ID).head(count)
    return ListChanges(
        k=k,
        compared=kept.height,
        new=new[USER_ID].n_unique() - kept.height,
        gone=old[USER_ID].n_unique() - kept.height,
        mean_kept=means["kept"],
        same_share=means["same"],
        examples=_examples(most, old, new, titles),
    )


def _kept(old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """user_id, size_before, size, kept, is_same: a row for each user of both days."""
    sizes = old.group_by(USER_ID).len("size_before").join(new.group_by(USER_ID).len("size"), on=USER_ID)
    common = old.join(new, on=[USER_ID, ITEM_ID], suffix="_now").group_by(USER_ID).agg(
        pl.len().alias("kept"), (pl.col(RANK) == pl.col(f"{RANK}_now")).sum().alias("unmoved")
    )  # fmt: skip
    counted = sizes.join(common, on=USER_ID, how="left").with_columns(pl.col("kept", "unmoved").fill_null(0))
    is_same = (pl.col("unmoved") == pl.col("size")) & (pl.col("size") == pl.col("size_before"))
    return counted.with_columns(is_same.alias("is_same"))


def _examples(
    most: pl.DataFrame, old: pl.DataFrame, new: pl.DataFrame, titles: pl.DataFrame
) -> tuple[ChangedList, ...]:
    users: Sequence[str] = most[USER_ID].to_list()
    before, now = _titled(old, new, users, titles), _titled(new, old, users, titles)
    return tuple(ChangedList(user, kept, before[user], now[user]) for user, kept in most.select(USER_ID, "kept").rows())


def _titled(
    lists: pl.DataFrame, others: pl.DataFrame, users: Sequence[str], titles: pl.DataFrame
) -> dict[str, tuple[ListedTitle, ...]]:
    mine = lists.filter(pl.col(USER_ID).is_in(users)).sort(USER_ID, RANK)
    theirs = others.select(USER_ID, ITEM_ID).with_columns(pl.lit(False).alias("is_other"))
    rows = mine.join(theirs, on=[USER_ID, ITEM_ID], how="left", maintain_order="left").join(
        titles.select(ITEM_ID, TITLE), on=ITEM_ID, how="left", maintain_order="left"
    )
    shown = rows.select(USER_ID, pl.coalesce(TITLE, ITEM_ID), pl.col("is_other").fill_null(True))
    found: dict[str, list[ListedTitle]] = {user: [] for user in users}
    for user, title, is_other in shown.rows():
        found[user].append(ListedTitle(title, is_other))
    return {user: tuple(items) for user, items in found.items()}
