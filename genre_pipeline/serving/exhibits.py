"""What the page shows beside lists, of the published night: texts, modalities, the evaluation, the curves of trainings.

Read when the page first asks for it, and kept for as long as the run is. Answers of `/v1` never wait for it. What is
not there is named in `absent`: a night need not make all of it.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from genre_pipeline.adapters.partitions import SINGLE, PartitionStore
from genre_pipeline.contracts.columns import CATEGORIES, DESCRIPTION, ITEM_ID, VECTOR
from genre_pipeline.contracts.errors import CorruptPartitionError, GenreError, MissingPartitionError
from genre_pipeline.contracts.names import (
    CHAMPION,
    EVALUATION,
    ITEM_AUDIO_VECTORS,
    ITEM_IMAGE_VECTORS,
    ITEM_SUMMARIES,
    ITEM_TEXT_VECTORS,
    ITEM_TOWER,
    ITEM_VECTORS,
    ITEMS,
    SEQUENCE_MODEL,
    USER_VECTORS,
)
from genre_pipeline.serving.published import PublishedRun, normalised, read_snapshot

_log = logging.getLogger(__name__)
TOGETHER = "all together"
SPACES = {
    "text": ITEM_TEXT_VECTORS,
    "picture": ITEM_IMAGE_VECTORS,
    "sound": ITEM_AUDIO_VECTORS,
    TOGETHER: ITEM_VECTORS,
}
"""What is compared, by the name that the page gives it."""
_WRITTEN = ("model", "repaired")


@dataclass(frozen=True)
class Exhibits:
    """One night's."""

    run_id: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)
    """item_id to its description, or to a summary where it has none."""
    written: frozenset[str] = frozenset()
    """Items whose text a language model wrote."""
    categories: Mapping[str, Sequence[str]] = field(default_factory=dict)
    spaces: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Modality to float32 [items, width] in the run's order; rows of length 1, or zero where an item has none."""
    taste: str = "text"
    """The modality in which users are compared with items: the part `vector` of a score."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """What each modality counts in `all together`."""
    evaluation: pl.DataFrame | None = None
    """recommender, metric, value, low, high, users."""
    curves: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    """Training to its epochs."""
    absent: Mapping[str, str] = field(default_factory=dict)
    """What is not shown, and why."""

    def nearest(self, space: str, at: int, allowed: np.ndarray, k: int) -> list[tuple[int, float]]:
        """(position, cosine) of the `k` items nearest to the one at `at`; none where it is zero. `allowed` is bool."""
        matrix = self.spaces[space]
        if not matrix[at].any():
            return []
        cosine = matrix @ matrix[at]
        cosine[~(allowed & matrix.any(axis=1))] = -np.inf
        cosine[at] = -np.inf
        best = np.lexsort((np.arange(len(cosine)), -cosine))[:k]
        return [(int(position), float(cosine[position])) for position in best if np.isfinite(cosine[position])]

    def closeness(self, positions: np.ndarray, history: np.ndarray) -> dict[str, np.ndarray]:
        """Modality to the cosine of each item with the mean of a history, float32; NaN where either has no vector."""
        found = {}
        for name, matrix in self.spaces.items():
            mean = normalised(matrix[history].sum(axis=0, keepdims=True))[0]
            is_known = matrix[positions].any(axis=1) & bool(mean.any())
            found[name] = np.where(is_known, matrix[positions] @ mean, np.nan).astype(np.float32)
        return found


NO_EXHIBITS = Exhibits(absent={"texts, modalities and evaluation": "they are being read; load the page again"})
_NOWHERE = Exhibits(absent={"texts, modalities and evaluation": "the service was started without the partitions"})


class ExhibitsOf:
    """The exhibits of the run that was asked for last. Called by one thread."""

    def __init__(self, partitions: PartitionStore | None) -> None:
        self._partitions = partitions
        self._held = _NOWHERE

    def __call__(self, run: PublishedRun) -> Exhibits:
        """Read once a run."""
        if self._partitions is not None and self._held.run_id != run.run_id:
            self._held = read_exhibits(self._partitions, run)
        return self._held

    def held(self, run: PublishedRun) -> Exhibits | None:
        """Those of `run` where they are in memory, or can never be."""
        return self._held if self._partitions is None or self._held.run_id == run.run_id else None


def read_exhibits(partitions: PartitionStore, run: PublishedRun) -> Exhibits:
    """Everything that is there of the run's day, checksums verified."""
    day = (run.as_of - timedelta(days=1)).date().isoformat()
    reader = _Reader(partitions, day)
    texts, written, categories = _texts(reader)
    spaces = {name: _matrix(frame, run) for name, table in SPACES.items() if (frame := reader.read(table)) is not None}
    made_in = reader.decisions(USER_VECTORS).get("items", ITEM_TEXT_VECTORS)
    return Exhibits(
        run_id=run.run_id,
        texts=texts,
        written=written,
        categories=categories,
        spaces={name: matrix for name, matrix in spaces.items() if matrix.any()},
        taste=next((name for name, table in SPACES.items() if table == made_in), str(made_in)),
        weights=reader.decisions(ITEM_VECTORS).get("weights", {}),
        evaluation=reader.read(EVALUATION),
        curves=_curves(reader),
        absent=reader.absent,
    )


class _Reader:
    """Tables of one day; what cannot be read is noted."""

    def __init__(self, partitions: PartitionStore, day: str) -> None:
        self._partitions, self.day = partitions, day
        self.absent: dict[str, str] = {}

    def read(self, table: str, day: str | None = None) -> pl.DataFrame | None:
        try:
            return read_snapshot(self._partitions, table, day or self.day)
        except MissingPartitionError:
            self.absent[table] = "the night does not make it"
        except CorruptPartitionError as error:
            _log.warning("%s cannot be shown: %s", table, error.problem)
            self.absent[table] = "its partition is damaged"
        return None

    def decisions(self, table: str) -> Mapping[str, Any]:
        key = self.day if self._partitions.has(table, self.day) else SINGLE
        try:
            return self._partitions.manifest(table, key).decisions
        except GenreError:
            return {}


def _texts(reader: _Reader) -> tuple[dict[str, str], frozenset[str], dict[str, list[str]]]:
    items, summaries = reader.read(ITEMS), reader.read(ITEM_SUMMARIES)
    if items is None:
        return {}, frozenset(), {}
    own = items.drop_nulls(DESCRIPTION).filter(pl.col(DESCRIPTION) != "")
    texts = dict(own.select(ITEM_ID, DESCRIPTION).rows())
    written: frozenset[str] = frozenset()
    if summaries is not None:
        made = summaries.filter(pl.col("source").is_in(_WRITTEN) & ~pl.col(ITEM_ID).is_in(list(texts)))
        texts |= dict(made.select(ITEM_ID, "summary").drop_nulls().rows())
        written = frozenset(made[ITEM_ID].to_list())
    return texts, written, dict(items.select(ITEM_ID, CATEGORIES).rows())


def _matrix(frame: pl.DataFrame, run: PublishedRun) -> np.ndarray:
    known = frame.drop_nulls(VECTOR).filter(pl.col(VECTOR).list.len() > 0)
    known = known.filter(pl.col(ITEM_ID).is_in(list(run.item_ids)))
    if known.is_empty():
        return np.zeros((run.n_items, 1), dtype=np.float32)
    rows = known[VECTOR].list.to_array(len(known[VECTOR][0])).to_numpy().astype(np.float32)
    matrix = np.zeros((run.n_items, rows.shape[1]), dtype=np.float32)
    matrix[run.positions_of(known[ITEM_ID].to_list())] = rows
    return normalised(matrix)


def _curves(reader: _Reader) -> dict[str, pl.DataFrame]:
    champion = reader.read(CHAMPION)
    days = {SEQUENCE_MODEL: None if champion is None or champion.is_empty() else champion["model_day"][0]}
    found = {table: reader.read(table, days.get(table)) for table in (SEQUENCE_MODEL, ITEM_TOWER)}
    return {table: frame for table, frame in found.items() if frame is not None and "train_loss" in frame.columns}
