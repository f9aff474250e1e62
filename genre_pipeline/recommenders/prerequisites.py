"""Items that ask for others first: what they require, what a user has finished, and what that opens.

The same rule serves the night and real time: both compile it here. Kept out: who has done what, which the callers know.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from pydantic import model_validator
from scipy import sparse

from genre_pipeline.contracts.columns import EVENT, ITEM_ID, USER_ID, VALUE
from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.recommenders.listed_cells import as_list

_REQUIRED = "required"


class PrerequisitesConfig(Settings):
    """An item is listed only for users who have finished all that it requires: courses, volumes, levels."""

    column: str | None = None
    """Column with the ids of the items that an item requires: a list, or text as `a|b`. None: no item requires any."""
    events: tuple[str, ...] = ()
    """Event types that finish an item; empty: any."""
    least_value: float | None = None
    """The least `value` of such an event; one without a value finishes nothing then. None: any."""

    @model_validator(mode="after")
    def _is_read(self) -> "PrerequisitesConfig":
        if self.column is None and (self.events or self.least_value is not None):
            raise ValueError("events and least_value mean nothing without column")
        return self

    def finishes(self, event: str, value: float | None) -> bool:
        """Whether such an event finishes its item."""
        is_enough = self.least_value is None or (value is not None and value >= self.least_value)
        return is_enough and (not self.events or event in self.events)

    def finished(self, interactions: pl.LazyFrame) -> pl.LazyFrame:
        """user_id, item_id of what users have finished, each pair once, of `interactions` (schema `Interactions`)."""
        is_enough = pl.lit(True) if self.least_value is None else (pl.col(VALUE) >= self.least_value).fill_null(False)
        is_such = pl.col(EVENT).is_in(list(self.events)) if self.events else pl.lit(True)
        return interactions.filter(is_enough & is_such).select(USER_ID, ITEM_ID).unique()


@dataclass(frozen=True)
class Prerequisites:
    """The rule compiled for one catalogue."""

    config: PrerequisitesConfig
    required: sparse.csr_matrix
    """float32 [items, items]: 1 where the row's item requires the column's."""

    def open_to(self, finished: sparse.csr_matrix) -> np.ndarray:
        """bool [users, items]: nothing that the item requires is missing from `finished`, float32 [users, items] of 0
        and 1.
        """
        met = (finished @ self.required.T).toarray()
        return np.asarray(met >= np.diff(self.required.indptr))

    def open_to_one(self, finished: np.ndarray) -> np.ndarray:
        """bool [items]: the same for one user, of the positions of what is finished, int64."""
        done = np.unique(finished)
        cells = (np.ones(len(done), dtype=np.float32), (np.zeros_like(done), done))
        return np.asarray(self.open_to(sparse.csr_matrix(cells, shape=(1, self.required.shape[0])))[0])


def compile_prerequisites(
    config: PrerequisitesConfig, items: pl.DataFrame, item_ids: pl.Series
) -> Prerequisites | None:
    """The rule for the catalogue `item_ids` (String, sorted), whose rows `items` describe; None where there is none.

    Raises `ConfigError` where the items do not have the column, where it names an item that the table does not have,
    and where items require each other in a circle: nobody could ever be shown those.
    """
    if config.column is None:
        return None
    pairs = _pairs(config.column, items)
    position = pl.DataFrame({_REQUIRED: item_ids}).with_row_index("position")
    own = pairs.join(position.rename({_REQUIRED: ITEM_ID}), on=ITEM_ID)
    both = own.join(position, on=_REQUIRED, suffix="_required")
    cells = (both["position"].to_numpy(), both["position_required"].to_numpy())
    shape = (len(item_ids), len(item_ids))
    made = Prerequisites(config, sparse.csr_matrix((np.ones(len(both), dtype=np.float32), cells), shape=shape))
    _require_no_circle(made, config.column, item_ids)
    return made


def _pairs(column: str, items: pl.DataFrame) -> pl.DataFrame:
    if column not in items.columns:
        raise ConfigError(
            f"rules.prerequisites reads {column!r}, a column that the items do not have",
            remedy=f"Add it to the items table, or name another; the items have: {', '.join(items.columns)}.",
            culprits=[column],
        )
    pairs = (
        items.select(ITEM_ID, as_list(column, items.schema).alias(_REQUIRED))
        .explode(_REQUIRED)
        .with_columns(pl.col(_REQUIRED).str.strip_chars())
        .filter(pl.col(_REQUIRED).str.len_bytes() > 0)
        .unique(maintain_order=True)
    )
    unknown = pairs.join(items.select(ITEM_ID), left_on=_REQUIRED, right_on=ITEM_ID, how="anti")
    if not unknown.is_empty():
        raise ConfigError(
            f"{unknown.height:,} prerequisites in the column {column!r} are no items of the table, and what nobody can "
            "finish opens nothing",
            remedy="Correct the ids, add the items (`available` false hides one that is no longer offered), or take "
            "them out.",
            culprits=[f"{item} requires {required}" for item, required in unknown.rows()],
        )
    return pairs


def _require_no_circle(made: Prerequisites, column: str, item_ids: pl.Series) -> None:
    opened = np.zeros(len(item_ids), dtype=bool)
    while True:
        now = made.open_to_one(np.flatnonzero(opened))
        if (now == opened).all():
            break
        opened = now
    if not opened.all():
        raise ConfigError(
            f"By the column {column!r}, items require each other in a circle, or one that does: nobody can begin",
            remedy="Take one of them out of the circle.",
            culprits=item_ids.filter(pl.Series(~opened)).to_list(),
        )
