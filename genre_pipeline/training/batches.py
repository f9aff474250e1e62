"""Batches of user histories: windows cut and padded by array indexing, never a loop over users.

Numpy only, so that scoring services and tests can cut windows without a network.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from genre_pipeline.contracts.columns import EVENT_INDEX, ITEM_INDEX, TIMESTAMP, USER_INDEX, WEIGHT
from genre_pipeline.contracts.training_set import TrainingSet

_BATCHES_SORTED_TOGETHER = 50


@dataclass(frozen=True)
class Histories:
    """Every user's interactions, oldest first, laid end to end; user u owns `offsets[u]` to `offsets[u + 1]`."""

    items: np.ndarray
    """int64 [events]"""
    gaps: np.ndarray
    """int64 [events]: bucket of the time since the user's interaction before, 0 where unknown."""
    events: np.ndarray
    """int64 [events]: 1 + position of the event type among those asked for, 0 for any other."""
    weights: np.ndarray
    """float32 [events]"""
    offsets: np.ndarray
    """int64 [users + 1]"""

    @property
    def lengths(self) -> np.ndarray:
        """int64 [users]: interactions of each user."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class Windows:
    """B windows, padded at the end to L: what the network reads, and in training what it has to say next."""

    items: np.ndarray
    """int64 [B, L]; 0 in the padding."""
    gaps: np.ndarray
    """int64 [B, L]"""
    events: np.ndarray
    """int64 [B, L]: event types; 0 in the padding."""
    lengths: np.ndarray
    """int64 [B]"""
    targets: np.ndarray
    """int64 [B, L]: the item after each position; -1 in the padding and where nothing follows."""
    weights: np.ndarray
    """float32 [B, L]: weight of each target, 0 where there is none."""


def histories_of(data: TrainingSet, *, time_buckets: int, event_types: Sequence[str] = ()) -> Histories:
    """The histories of a training set; a set without a clock has no gaps."""
    users = data.events[USER_INDEX].to_numpy()
    offsets = np.searchsorted(users, np.arange(data.n_users + 1))
    seconds = data.events[TIMESTAMP].dt.epoch("s").to_numpy()
    first = np.zeros(len(users), dtype=bool)
    first[offsets[:-1][np.diff(offsets) > 0]] = True
    return Histories(
        items=data.events[ITEM_INDEX].cast(pl.Int64).to_numpy(),
        gaps=gap_buckets(seconds, first, time_buckets) if data.has_clock else np.zeros(len(users), dtype=np.int64),
        events=_event_numbers(data.events[EVENT_INDEX].to_numpy(), data.event_types, event_types)
        if event_types
        else np.zeros(len(users), dtype=np.int64),
        weights=data.events[WEIGHT].to_numpy(),
        offsets=offsets.astype(np.int64),
    )


def histories_from(
    items: Sequence[np.ndarray],
    seconds: Sequence[np.ndarray] | None,
    *,
    time_buckets: int,
    events: Sequence[Sequence[str]] | None = None,
    event_types: Sequence[str] = (),
) -> Histories:
    """Histories from item positions, unix seconds and events per user, for events that no training set holds yet."""
    lengths = np.fromiter((len(one) for one in items), dtype=np.int64, count=len(items))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    flat = np.concatenate(items).astype(np.int64) if len(items) else np.zeros(0, dtype=np.int64)
    gaps = np.zeros(len(flat), dtype=np.int64)
    if seconds is not None and len(flat):
        first = np.zeros(len(flat), dtype=bool)
        first[offsets[:-1][lengths > 0]] = True
        gaps = gap_buckets(np.concatenate(seconds), first, time_buckets)
    numbers = np.zeros(len(flat), dtype=np.int64)
    if events is not None and event_types and len(flat):
        said = np.concatenate([np.asarray(one, dtype=str) for one in events])
        known, which = np.unique(said, return_inverse=True)
        numbers = _event_numbers(which, known.tolist(), event_types)
    return Histories(flat, gaps, numbers, np.ones(len(flat), dtype=np.float32), offsets)


def _event_numbers(positions: np.ndarray, named: Sequence[str], event_types: Sequence[str]) -> np.ndarray:
    """int64 [events]: events at `positions` among `named`, as numbers among `event_types`."""
    number = {name: place for place, name in enumerate(event_types, start=1)}
    return np.take(np.array([number.get(name, 0) for name in named], dtype=np.int64), positions)


def gap_buckets(seconds: np.ndarray, first: np.ndarray, buckets: int) -> np.ndarray:
    """int64 [events]: 1 + log2(1 + gap in seconds), at most `buckets` - 1; 0 for each user's first interaction."""
    gap = np.maximum(np.diff(seconds, prepend=seconds[:1]), 0)
    bucket = 1 + np.floor(np.log2(1 + gap)).astype(np.int64)
    return np.where(first, 0, np.minimum(bucket, buckets - 1))


def latest_windows(histories: Histories, users: np.ndarray, length: int) -> Windows:
    """Each user's last `length` interactions, to score what comes next."""
    ends = histories.offsets[users + 1]
    starts = np.maximum(histories.offsets[users], ends - length)
    return _cut(histories, starts, ends - starts, with_targets=False)


def training_windows(histories: Histories, length: int, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """(starts, lengths), int64 [windows]: every interaction that has a successor lies in exactly one window.

    Long histories are cut at `shift`, `shift` + `length`, …: another shift each epoch shows each target with
    another amount of context.
    """
    pairs = np.maximum(histories.lengths - 1, 0)
    shifts = np.where(pairs > length, shift % length, 0)
    counts = -(-(pairs - shifts) // length) + (shifts > 0)
    owner = np.repeat(np.arange(len(pairs)), counts)
    nth = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    cut = np.where(shifts > 0, shifts - length, 0)[owner] + nth * length
    ends = np.minimum(cut + length, pairs[owner])
    begins = np.maximum(cut, 0)
    return histories.offsets[:-1][owner] + begins, ends - begins


def training_batches(histories: Histories, length: int, batch_size: int, seed: int) -> Iterator[Windows]:
    """One epoch of batches in an order fixed by `seed`, windows of like length together so that little is padding."""
    random = np.random.default_rng(seed)
    starts, lengths = training_windows(histories, length, int(random.integers(length)))
    for rows in batches_by_length(lengths, batch_size, random):
        yield _cut(histories, starts[rows], lengths[rows], with_targets=True)


def batches_by_length(lengths: np.ndarray, batch_size: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows int64 [b] of each batch of an epoch, drawn by `random`: like lengths together, the batches mixed."""
    order = random.permutation(len(lengths))
    chunk = np.arange(len(order)) // (batch_size * _BATCHES_SORTED_TOGETHER)
    order = order[np.lexsort((lengths[order], chunk))]
    for batch in random.permutation(-(-len(order) // batch_size)):
        yield order[batch * batch_size : (batch + 1) * batch_size]


def _cut(histories: Histories, starts: np.ndarray, lengths: np.ndarray, *, with_targets: bool) -> Windows:
    steps = np.arange(int(lengths.max(initial=1)))
    inside = steps < lengths[:, None]
    index = np.where(inside, starts[:, None] + steps, 0)
    following = np.where(inside, index + 1, 0) if with_targets else index
    has_target = inside & with_targets
    return Windows(
        items=np.where(inside, histories.items[index], 0),
        gaps=np.where(inside, histories.gaps[index], 0),
        events=np.where(inside, histories.events[index], 0),
        lengths=lengths,
        targets=np.where(has_target, histories.items[following], -1),
        weights=np.where(has_target, histories.weights[following], np.float32(0)),
    )
