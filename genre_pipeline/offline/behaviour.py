"""An item's history as a part of its fused vector: learned of most users, weighed by the others.

How much it counts is learned from what is consumed together, as for the other parts. Whoever taught the embedding what
goes together cannot also say how good it is: every fifth user, in the order of ids, is kept for that.
"""

import hashlib

import dataframely as dy
import numpy as np
import polars as pl
from scipy import sparse
from threadpoolctl import threadpool_limits

from genre_pipeline.contracts.columns import CONTENT_HASH, ITEM_ID, USER_ID
from genre_pipeline.contracts.tables import ItemVectors
from genre_pipeline.features.behaviour import BEHAVIOUR, BehaviourConfig, behaviour_vectors
from genre_pipeline.features.vector_cache import MODEL
from genre_pipeline.features.vector_column import to_column

_EVERY = 5
_VERSION = 1


def behaviour_part(
    item_ids: pl.Series, past: pl.DataFrame, config: BehaviourConfig
) -> dy.DataFrame[ItemVectors] | None:
    """Vectors of `item_ids`, in their order, of what four fifths of the users of `past` took; None where none is made.

    `past` has user_id and item_id. `content_hash` changes with the vector.
    """
    taken = past.filter(~_judges(past)).select(USER_ID, ITEM_ID).unique().sort(USER_ID, ITEM_ID)
    known = pl.DataFrame({ITEM_ID: item_ids}).with_row_index("item")
    cells = taken.join(known, on=ITEM_ID, maintain_order="left").select(
        pl.col(USER_ID).rank("dense").alias("user") - 1, "item"
    )
    rows, columns = cells["user"].to_numpy(), cells["item"].to_numpy()
    shape = (cells["user"].n_unique(), len(item_ids))
    matrix = sparse.csr_matrix((np.ones(len(cells), dtype=np.float32), (rows, columns)), shape=shape)
    # Sums over several threads add up in the order in which they finish, and no night would be byte-equal.
    with threadpool_limits(limits=1, user_api="blas"):
        vectors = behaviour_vectors(matrix, config)
    if not vectors.any():
        return None
    hashes = pl.Series(CONTENT_HASH, [hashlib.sha256(row.tobytes()).hexdigest() for row in vectors], dtype=pl.String)
    model = pl.lit(f"{BEHAVIOUR}/{_VERSION}/{config.factors}/{config.least_users}").alias(MODEL)
    frame = pl.DataFrame([item_ids.alias(ITEM_ID), hashes, to_column(vectors)]).with_columns(model)
    return ItemVectors.validate(frame.select(ItemVectors.column_names()))


def judged_by(past: pl.DataFrame) -> pl.DataFrame:
    """The rows of the users whose history the embedding does not know."""
    return past.filter(_judges(past))


def _judges(past: pl.DataFrame) -> pl.Series:
    return past.select((pl.col(USER_ID).rank("dense") % _EVERY == 0).alias("judges"))["judges"]
