"""What every recommender and every trainer learns from: interactions with ids turned into positions.

Ids are text outside and positions inside, so that matrix work never touches a string. Both orders are fixed here once:
users and items sorted by id, which also settles ties (equal scores go to the smaller item id, the smaller position).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

import numpy as np
import polars as pl
from scipy import sparse

from genre_pipeline.contracts.columns import (
    AVAILABLE,
    CATEGORIES,
    EVENT,
    EVENT_INDEX,
    ITEM_ID,
    ITEM_INDEX,
    PUBLISHED_AT,
    TIMESTAMP,
    USER_ID,
    USER_INDEX,
    VALUE,
    VECTOR,
    WEIGHT,
)
from genre_pipeline.contracts.errors import TrainingError


@dataclass(frozen=True)
class TrainingSet:
    """Interactions up to `as_of`, the catalogue, and the item vectors, all by position.

    `events` has the columns user_index (UInt32), item_index (UInt32), timestamp (Datetime us UTC), weight (Float32) and
    event_index (UInt32), sorted by user, then time; equal times keep the order of the source. Repeats are kept.
    """

    user_ids: pl.Series
    """Users with at least one interaction, sorted, String."""
    item_ids: pl.Series
    """The whole catalogue, sorted, String: items with a row in the table or with an interaction."""
    events: pl.DataFrame
    is_candidate: np.ndarray
    """bool [items]: may be recommended, which asks for `available` and for having existed at `as_of`."""
    as_of: datetime
    """The exclusive end of what is known; every event lies before it."""
    event_types: tuple[str, ...] = ()
    """Event types that were kept, sorted; `event_index` is a type's position here."""
    has_clock: bool = True
    """False where the source knows an order only: then days and windows mean nothing."""
    item_vectors: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Technique name to float32 [items, width]; rows are L2-normalised, and all zero where the modality is missing."""
    item_categories: sparse.csr_matrix | None = None
    """float32 [items, categories], 1 where the item carries the category; None where the data set has none."""
    profile_vectors: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Technique name to float32 [users, width] of generated profiles; rows are L2-normalised, all zero without one."""
    synthetic: sparse.csr_matrix | None = None
    """float32 [users, items]: what generated items weigh in their users' histories; nothing is learned from them about
    anybody else, and none counts as seen."""
    enrichment: "Enrichment | None" = None
    """The same with what generation adds; None without generation."""

    @property
    def n_users(self) -> int:
        """How many users have interactions."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """How many items the catalogue has, candidates or not."""
        return len(self.item_ids)

    @cached_property
    def matrix(self) -> sparse.csr_matrix:
        """float32 [users, items]: the largest weight of each user and item, repeats counted once."""
        pairs = self.events.group_by(USER_INDEX, ITEM_INDEX).agg(pl.col(WEIGHT).max()).sort(USER_INDEX, ITEM_INDEX)
        cells = (pairs[USER_INDEX].to_numpy(), pairs[ITEM_INDEX].to_numpy())
        return sparse.csr_matrix(
            (pairs[WEIGHT].to_numpy(), cells), shape=(self.n_users, self.n_items), dtype=np.float32
        )

    @cached_property
    def history_lengths(self) -> np.ndarray:
        """int64 [users]: how many distinct items each user has had."""
        return np.asarray(np.diff(self.matrix.indptr), dtype=np.int64)

    def user_positions(self, user_ids: pl.Series) -> np.ndarray:
        """int64 [len(user_ids)]: position of each user, -1 where the user has no interaction here."""
        return _positions(user_ids, self.user_ids)

    def item_positions(self, item_ids: pl.Series) -> np.ndarray:
        """int64 [len(item_ids)]: position of each item, -1 where the catalogue does not have it."""
        return _positions(item_ids, self.item_ids)


@dataclass(frozen=True)
class Enrichment:
    """A training set beside the one without generation, and how far apart their lists may be."""

    data: TrainingSet
    """The same users, items and events; other vectors, and what the profiles and synthetic items say."""
    max_rank_shift: int
    """Places that an item may stand from where it stands without generation."""


def enrich(
    data: TrainingSet,
    *,
    max_rank_shift: int,
    item_vectors: Mapping[str, pl.DataFrame] | None = None,
    profile_vectors: Mapping[str, pl.DataFrame] | None = None,
    synthetic: pl.DataFrame | None = None,
) -> TrainingSet:
    """`data` with an `Enrichment` beside it; `data` itself stays what it is without generation.

    `item_vectors` (schema `ItemVectors`) take the place of those of the same technique; `profile_vectors` hold user_id
    and vector; `synthetic` holds user_id, item_id and weight (Float32). Users and items that `data` does not have, and
    synthetic items that their user has had, are left out.
    """
    vectors = {name: _vector_matrix(frame, data.item_ids) for name, frame in (item_vectors or {}).items()}
    profiles = {
        name: _vector_matrix(frame.rename({USER_ID: ITEM_ID}), data.user_ids)
        for name, frame in (profile_vectors or {}).items()
    }
    enriched = replace(
        data,
        item_vectors={**data.item_vectors, **vectors},
        profile_vectors=profiles,
        synthetic=None if synthetic is None else _synthetic_matrix(synthetic, data),
    )
    return replace(data, enrichment=Enrichment(enriched, max_rank_shift))


def build_training_set(
    interactions: pl.DataFrame,
    items: pl.DataFrame,
    *,
    as_of: datetime,
    has_clock: bool = True,
    event_weights: Mapping[str, float] | None = None,
    valued_events: Collection[str] = (),
    item_vectors: Mapping[str, pl.DataFrame] | None = None,
    only_known_items: bool = False,
) -> TrainingSet:
    """Turn clean tables (`Interactions`, `Items`, `ItemVectors` by technique) into positions.

    Interactions at or after `as_of` are left out. `event_weights` gives an event type's weight, 1.0 where it is not
    named; of `valued_events`, times the event's `value` where it has one; a weight of 0 or less drops the event. With
    `only_known_items`, an item is a candidate only if somebody had interacted with it, or it was published, before
    `as_of`: an evaluation's catalogue must not leak the future. Without it, everything in the table is a candidate
    unless it is published later than `as_of`. Where the source knows an order only, `published_at` cannot be compared
    and is not looked at.

    Raises `TrainingError` where no interaction is left to learn from.
    """
    weight = _weight(event_weights or {}, valued_events)
    past = interactions.filter(pl.col(TIMESTAMP) < as_of).with_columns(weight.alias(WEIGHT)).filter(pl.col(WEIGHT) > 0)
    if past.is_empty():
        raise TrainingError(
            f"None of {interactions.height:,} interactions is left to learn from before {as_of:%Y-%m-%d %H:%M}",
            remedy="Look at `event_weights`, where 0 leaves an event type out, and at the first timestamp.",
            culprits=sorted(event_weights or {}),
        )
    user_ids = past[USER_ID].unique().sort()
    item_ids = pl.concat([items[ITEM_ID], past[ITEM_ID]]).unique().sort()
    event_types = past[EVENT].unique().sort()
    return TrainingSet(
        user_ids=user_ids,
        item_ids=item_ids,
        events=_indexed_events(past, user_ids, item_ids, event_types),
        is_candidate=_candidates(items, past, item_ids, as_of if has_clock else None, only_known_items),
        as_of=as_of,
        event_types=tuple(event_types),
        has_clock=has_clock,
        item_vectors={name: _vector_matrix(frame, item_ids) for name, frame in (item_vectors or {}).items()},
        item_categories=_category_matrix(items, item_ids),
    )


def _weight(event_weights: Mapping[str, float], valued_events: Collection[str]) -> pl.Expr:
    weight = pl.lit(1.0, pl.Float32)
    if event_weights:
        weight = pl.col(EVENT).replace_strict(dict(event_weights), default=1.0, return_dtype=pl.Float32)
    if valued_events:
        is_valued = pl.col(EVENT).is_in(list(valued_events))
        weight = weight * pl.when(is_valued).then(pl.col(VALUE).cast(pl.Float32)).fill_null(1.0)
    return weight


def _positions(wanted: pl.Series, known: pl.Series) -> np.ndarray:
    lookup = pl.DataFrame({"id": known, "position": np.arange(len(known), dtype=np.int64)})
    found = pl.DataFrame({"id": wanted}).join(lookup, on="id", how="left", maintain_order="left")
    return found["position"].fill_null(-1).to_numpy()


def _indexed_events(
    past: pl.DataFrame, user_ids: pl.Series, item_ids: pl.Series, event_types: pl.Series
) -> pl.DataFrame:
    positions = past.select(
        pl.Series(USER_INDEX, _positions(past[USER_ID], user_ids), dtype=pl.UInt32),
        pl.Series(ITEM_INDEX, _positions(past[ITEM_ID], item_ids), dtype=pl.UInt32),
        TIMESTAMP,
        WEIGHT,
        pl.Series(EVENT_INDEX, _positions(past[EVENT], event_types), dtype=pl.UInt32),
    )
    return positions.sort(USER_INDEX, TIMESTAMP, maintain_order=True)


def _candidates(
    items: pl.DataFrame, past: pl.DataFrame, item_ids: pl.Series, as_of: datetime | None, only_known_items: bool
) -> np.ndarray:
    listed = items.select(ITEM_ID, AVAILABLE, PUBLISHED_AT)
    row = pl.DataFrame({ITEM_ID: item_ids}).join(listed, on=ITEM_ID, how="left", maintain_order="left")
    seen = row[ITEM_ID].is_in(past[ITEM_ID].unique().implode())
    unknown = pl.repeat(None, row.height, dtype=pl.Boolean, eager=True)
    published = unknown if as_of is None else row[PUBLISHED_AT] < as_of
    exists = published.fill_null(not only_known_items) | seen
    # An item that only interactions mention has no row to say it is gone, and stays available.
    return (row[AVAILABLE].fill_null(True) & exists).to_numpy()


def _vector_matrix(vectors: pl.DataFrame, item_ids: pl.Series) -> np.ndarray:
    filled = vectors.drop_nulls(VECTOR)
    width = filled[VECTOR].list.len().item(0) if len(filled) else 0
    matrix = np.zeros((len(item_ids), width), dtype=np.float32)
    positions = _positions(filled[ITEM_ID], item_ids)
    if len(filled):
        rows = filled[VECTOR].list.to_array(width).to_numpy().astype(np.float32, copy=False)
        matrix[positions[positions >= 0]] = rows[positions >= 0]
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    np.divide(matrix, norms, out=matrix, where=norms > 0)
    return matrix


def _synthetic_matrix(synthetic: pl.DataFrame, data: TrainingSet) -> sparse.csr_matrix:
    users, items = data.user_positions(synthetic[USER_ID]), data.item_positions(synthetic[ITEM_ID])
    known = (users >= 0) & (items >= 0)
    cells = (users[known], items[known])
    shape = (data.n_users, data.n_items)
    weights = sparse.csr_matrix((synthetic[WEIGHT].to_numpy()[known], cells), shape=shape, dtype=np.float32)
    return sparse.csr_matrix(weights - weights.multiply(data.matrix > 0))


def _category_matrix(items: pl.DataFrame, item_ids: pl.Series) -> sparse.csr_matrix | None:
    pairs = items.select(ITEM_ID, CATEGORIES).explode(CATEGORIES).drop_nulls().unique(maintain_order=True)
    if pairs.is_empty():
        return None
    names = pairs[CATEGORIES].unique().sort()
    cells = (_positions(pairs[ITEM_ID], item_ids), _positions(pairs[CATEGORIES], names))
    ones = np.ones(len(pairs), dtype=np.float32)
    return sparse.csr_matrix((ones, cells), shape=(len(item_ids), len(names)), dtype=np.float32)
