"""A whole data set, raw to clean: the one call that everything downstream starts from.

Belongs here: joining the tables' cleanings and the books of all. Kept out: where raw tables come from (`sources`).
"""

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from genre_pipeline.contracts.columns import TIMESTAMP
from genre_pipeline.contracts.errors import ContractError
from genre_pipeline.contracts.names import INTERACTIONS, ITEMS, USERS
from genre_pipeline.preprocessing.cleaning import Cleaned, PreprocessingConfig, RowCounts, check_rejected_share
from genre_pipeline.preprocessing.interactions import clean_interactions
from genre_pipeline.preprocessing.items import catalogue_of, clean_items
from genre_pipeline.preprocessing.timestamps import is_order
from genre_pipeline.preprocessing.users import clean_users


@dataclass(frozen=True)
class Dataset:
    """Clean tables in the schemas `Interactions`, `Items` and `Users`, and what was left out of them."""

    interactions: pl.DataFrame
    """Sorted by time; equal times keep the order of the source."""
    items: pl.DataFrame
    """The catalogue, in the order of the source; made from the interactions' ids where the source has none."""
    users: pl.DataFrame | None
    rejected: pl.DataFrame
    """`RejectedRows` of all tables."""
    counts: dict[str, RowCounts]
    """Table name to its row counts, for the tables that the source has."""
    has_clock: bool
    """False where timestamps are an order: then days and windows mean nothing."""
    name: str


def clean_dataset(
    interactions: pl.LazyFrame,
    items: pl.LazyFrame | None,
    users: pl.LazyFrame | None,
    config: PreprocessingConfig,
    *,
    name: str,
    as_of: datetime | None = None,
) -> Dataset:
    """Clean every table of a source.

    With `as_of`, interactions at or after it are rejected as `timestamp_in_future`. Raises ContractError where a
    required column is missing, where a larger share of a table than `config.max_rejected_share` is rejected, and
    where no interaction is left.
    """
    raw = interactions.collect()
    cleaned = {INTERACTIONS: clean_interactions(raw, config, as_of=as_of)}
    if items is not None:
        cleaned[ITEMS] = clean_items(items.collect())
    if users is not None:
        cleaned[USERS] = clean_users(users.collect())
    for table, result in cleaned.items():
        check_rejected_share(table, result, config)
    kept = cleaned[INTERACTIONS].kept
    _require_interactions(name, cleaned[INTERACTIONS])
    return Dataset(
        interactions=kept,
        items=cleaned[ITEMS].kept if items is not None else clean_items(catalogue_of(kept)).kept,
        users=cleaned[USERS].kept if users is not None else None,
        rejected=pl.concat([result.rejected for result in cleaned.values()]),
        counts={table: result.counts for table, result in cleaned.items()},
        has_clock=not is_order(raw[TIMESTAMP]),
        name=name,
    )


def _require_interactions(name: str, cleaned: Cleaned) -> None:
    if cleaned.kept.is_empty():
        raise ContractError(
            f"The data set {name!r} has no usable interaction: {cleaned.counts.read:,} rows were read, "
            f"{cleaned.counts.rejected:,} rejected",
            remedy="Give at least one interaction with a user id, an item id and a timestamp.",
        )
