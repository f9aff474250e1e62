"""Known users, raw to clean: an id and whatever attributes the source has.

Belongs here: how a user's cells are read. Kept out: what users did (`interactions`).
"""

import dataframely as dy
import polars as pl

from genre_pipeline.contracts.columns import USER_ID
from genre_pipeline.contracts.names import USERS
from genre_pipeline.contracts.tables import Users
from genre_pipeline.preprocessing.cells import as_id
from genre_pipeline.preprocessing.cleaning import (
    ROW_NUMBER,
    Cleaned,
    Split,
    finish,
    keep_last,
    require_columns,
    split_rows,
)


class _UserRows(Users):
    """Rows before repeats are settled: the id is not yet a key."""

    user_id = dy.String(nullable=False, min_length=1)
    row_number = dy.UInt32(nullable=False)


def clean_users(raw: pl.DataFrame) -> Cleaned:
    """Clean a raw users' table: `kept` has `user_id` first and then the source's attributes as they are.

    Rule beside the contract's: `user_id_superseded`, as for items: of several rows with one id the last counts.
    """
    require_columns(USERS, raw.columns, (USER_ID,))
    coerced = pl.DataFrame([as_id(raw[USER_ID]).alias(USER_ID), *raw.select(pl.exclude(USER_ID))])
    split = split_rows(raw, coerced.select(USER_ID), _UserRows, readable={})
    rows = coerced.with_row_index(ROW_NUMBER).join(split.kept.select(ROW_NUMBER), on=ROW_NUMBER, how="semi")
    settled = keep_last(Split(rows, split.broken), USER_ID)
    return finish(USERS, raw, settled.kept, settled.broken, pl.Series([None] * raw.height, dtype=pl.Date))
