"""The published run as the service holds it in memory: catalogue, item matrix, popularity, who has seen what.

Read once when the pointer moves, then only read. Items are positions in the sorted order of their ids, so that equal
scores go to the smaller id by going to the smaller position. Memory: 4 bytes × items × width for the matrix, 4 bytes
for each distinct pair of user and item.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import polars as pl

from genre_pipeline.adapters.partitions import SINGLE, PartitionStore
from genre_pipeline.contracts.columns import (
    AUDIO,
    AVAILABLE,
    CATEGORIES,
    IMAGE,
    ITEM_ID,
    ITEM_INDEX,
    PUBLISHED_AT,
    TITLE,
    USER_ID,
    VECTOR,
)
from genre_pipeline.contracts.errors import CorruptPartitionError, MissingPartitionError
from genre_pipeline.contracts.names import INTERACTIONS, ITEM_STATISTICS, ITEM_TEXT_VECTORS, ITEMS, USER_VECTORS
from genre_pipeline.features.nearest import NearestConfig, NearestSearch
from genre_pipeline.recommenders.prerequisites import Prerequisites, compile_prerequisites
from genre_pipeline.recommenders.rules import ItemRules, RulesConfig, category_codes, category_numbers, compile_rules
from genre_pipeline.serving.doors import Publication


@dataclass(frozen=True)
class SeenItems:
    """Which items each user had before `as_of`, as compressed rows."""

    rows: Mapping[str, int]
    """user_id to row."""
    starts: np.ndarray
    """int64 [users + 1]: where each row begins in `positions`."""
    positions: np.ndarray
    """int32 [pairs]: item positions."""

    def of(self, user_id: str) -> np.ndarray:
        """int32 [seen]: item positions the user has had; empty for an unknown user."""
        row = self.rows.get(user_id)
        if row is None:
            return self.positions[:0]
        return self.positions[self.starts[row] : self.starts[row + 1]]

    def without(self, user_id: str) -> "SeenItems":
        """The same, with a user unknown."""
        return replace(self, rows={user: row for user, row in self.rows.items() if user != user_id})


NOTHING_SEEN = SeenItems({}, np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int32))


@dataclass(frozen=True)
class PublishedRun:
    """Everything of one run that answering needs, by item position."""

    run_id: str
    as_of: datetime
    item_ids: Sequence[str]
    """Sorted."""
    positions: Mapping[str, int]
    """item_id to position."""
    titles: Sequence[str]
    """Title, or the id where an item has none."""
    media: Mapping[str, Sequence[str | None]]
    """`image` and `audio`: path of each item's file as the data set gives it."""
    is_candidate: np.ndarray
    """bool [items]: available and, by `as_of`, published."""
    vectors: np.ndarray
    """float32 [items, width], rows L2-normalised, zero where an item has no text. Width 0: no matrix."""
    norms: np.ndarray
    """float32 [items]: the rows' lengths before. The night averages vectors as they are, and so must a fresh vector."""
    vector_model: str | None
    """The encoder the matrix was made with; None without a matrix."""
    vectors_problem: str | None
    """Why there is no matrix."""
    popularity: np.ndarray
    """float32 [items] in [0, 1]: log(1 + decayed count) over its maximum."""
    popular_order: np.ndarray
    """int64: items that exist, most popular first."""
    seen: SeenItems
    counts: np.ndarray
    """float64 [items]: decayed counts, which popularity is made of."""
    exists: np.ndarray
    """bool [items]: published by `as_of`, available or not."""
    categories: np.ndarray
    """int32 [items, c]: numbers of an item's categories, filled up with -1."""
    category_numbers: Mapping[str, int]
    """Category to its number."""
    rules: Mapping[str, ItemRules]
    """Variant to its rules, compiled for this catalogue."""
    search: NearestSearch
    """Nearest items of any vector."""
    model_version: str
    """The model that made the published lists, as the run's record names it."""
    prerequisites: Prerequisites | None = None
    """What items require; None where no item requires any."""
    finished: SeenItems = NOTHING_SEEN
    """What users had finished, where items require others; else nothing."""

    @property
    def n_items(self) -> int:
        """How many items the catalogue has."""
        return len(self.item_ids)

    def positions_of(self, item_ids: Sequence[str]) -> np.ndarray:
        """int64: positions of those of `item_ids` that the catalogue has, in their order."""
        return np.array([self.positions[item] for item in item_ids if item in self.positions], dtype=np.int64)

    def members(self, positions: np.ndarray) -> np.ndarray:
        """bool [items]: whether an item is among `positions`."""
        members = np.zeros(self.n_items, dtype=bool)
        members[positions] = True
        return members

    def in_categories(self, names: Sequence[str]) -> np.ndarray:
        """bool [items]: items with at least one of these categories."""
        wanted = [self.category_numbers[name] for name in names if name in self.category_numbers]
        return np.asarray(np.isin(self.categories, wanted).any(axis=1))

    def without_user(self, user_id: str) -> "PublishedRun":
        """The same, knowing nothing of what a user has had."""
        return replace(self, seen=self.seen.without(user_id), finished=self.finished.without(user_id))

    def with_counts(self, counts: np.ndarray) -> "PublishedRun":
        """The same run with other counts, float64 [items], and the popularity that follows from them."""
        popularity = popularity_of(counts)
        return replace(
            self, counts=counts, popularity=popularity, popular_order=_popular_order(popularity, self.exists)
        )


def load_published_run(
    publication: Publication,
    partitions: PartitionStore,
    *,
    rules: RulesConfig | None = None,
    nearest: NearestConfig | None = None,
    model_version: str = "unknown",
) -> PublishedRun:
    """Read a run's partitions, checksums verified, and compile the rules for its catalogue.

    A missing or corrupt item matrix leaves the run usable without real-time scoring; every other partition is needed,
    and its absence raises MissingPartitionError or CorruptPartitionError.
    """
    day, rules = publication.day.isoformat(), rules or RulesConfig()
    items = read_snapshot(partitions, ITEMS, day).sort(ITEM_ID)
    item_ids = items[ITEM_ID]
    exists = items.select((pl.col(PUBLISHED_AT) < publication.as_of).fill_null(True)).to_series().to_numpy()
    past = partitions.scan(INTERACTIONS, until=day)
    required = compile_prerequisites(rules.prerequisites, items, item_ids)
    counts = _counts(read_snapshot(partitions, ITEM_STATISTICS, day), item_ids)
    popularity = popularity_of(counts)
    matrix = _vectors(partitions, day, item_ids)
    return PublishedRun(
        run_id=publication.run_id,
        as_of=publication.as_of,
        item_ids=item_ids.to_list(),
        positions={item: position for position, item in enumerate(item_ids.to_list())},
        titles=items.select(pl.coalesce(pl.col(TITLE).replace("", None), ITEM_ID)).to_series().to_list(),
        media={column: items[column].to_list() for column in (IMAGE, AUDIO)},
        is_candidate=exists & items[AVAILABLE].to_numpy(),
        vectors=matrix.vectors,
        norms=matrix.norms,
        vector_model=matrix.model,
        vectors_problem=matrix.problem,
        popularity=popularity,
        popular_order=_popular_order(popularity, exists),
        seen=_seen(past, item_ids),
        counts=counts,
        exists=exists,
        categories=category_codes(items[CATEGORIES]),
        category_numbers=category_numbers(items[CATEGORIES]),
        rules=_compiled(rules, items, publication, matrix.vectors),
        search=NearestSearch(matrix.vectors, exists, nearest),
        model_version=model_version,
        prerequisites=required,
        finished=_finished(required, past, item_ids),
    )


def _compiled(
    rules: RulesConfig, items: pl.DataFrame, publication: Publication, vectors: np.ndarray
) -> dict[str, ItemRules]:
    """The rules of each variant."""
    # Without a matrix nothing can be told apart, and diversity has nothing to do: the answer says that it is missing.
    compared = vectors if vectors.shape[1] else np.zeros((len(items), 1), dtype=np.float32)
    return {
        name: compile_rules(rule, items, items[ITEM_ID], as_of=publication.as_of, vectors=compared)
        for name, rule in rules.by_variant.items()
    }


def read_snapshot(partitions: PartitionStore, table: str, day: str) -> pl.DataFrame:
    """A table as of `day`: its own partition, or the only one of a table that is not kept by day."""
    return partitions.read(table, day if partitions.has(table, day) else SINGLE)


def popularity_of(counts: np.ndarray) -> np.ndarray:
    """float32 [items] in [0, 1]: log(1 + count) over its maximum."""
    scores: np.ndarray = np.log1p(counts).astype(np.float32)
    largest = float(scores.max(initial=0.0))
    if largest > 0:
        scores /= np.float32(largest)
    return scores


def _popular_order(popularity: np.ndarray, exists: np.ndarray) -> np.ndarray:
    order = np.argsort(-popularity, kind="stable")
    return np.asarray(order[exists[order]])


def _counts(statistics: pl.DataFrame, item_ids: pl.Series) -> np.ndarray:
    rows = item_ids.to_frame().join(
        statistics.select(ITEM_ID, "popularity_decayed"), on=ITEM_ID, how="left", maintain_order="left"
    )
    return rows["popularity_decayed"].fill_null(0.0).to_numpy().astype(np.float64)


@dataclass(frozen=True)
class _Matrix:
    vectors: np.ndarray
    norms: np.ndarray
    model: str | None = None
    problem: str | None = None


def _vectors(partitions: PartitionStore, day: str, item_ids: pl.Series) -> _Matrix:
    absent, no_norms = np.zeros((len(item_ids), 0), dtype=np.float32), np.zeros(len(item_ids), dtype=np.float32)
    try:
        table = _space_of_users(partitions, day)
        frame = read_snapshot(partitions, table, day).drop_nulls(VECTOR)
    except (MissingPartitionError, CorruptPartitionError) as error:
        return _Matrix(absent, no_norms, problem=error.problem)
    if frame.is_empty():
        return _Matrix(absent, no_norms, problem=f"{table} of {day} has no vector")
    width = len(frame[VECTOR][0])
    rows = item_ids.to_frame().join(frame.select(ITEM_ID, VECTOR), on=ITEM_ID, how="left", maintain_order="left")
    matrix = np.zeros((len(item_ids), width), dtype=np.float32)
    is_known = rows[VECTOR].is_not_null().to_numpy()
    matrix[is_known] = rows[VECTOR].drop_nulls().list.to_array(width).to_numpy()
    return _Matrix(normalised(matrix), np.linalg.norm(matrix, axis=1), str(frame["model"][0]))


def _space_of_users(partitions: PartitionStore, day: str) -> str:
    """The table of items in whose space the night's user vectors lie: they say it themselves."""
    if not partitions.has(USER_VECTORS, day):
        return ITEM_TEXT_VECTORS
    return str(partitions.manifest(USER_VECTORS, day).decisions.get("items", ITEM_TEXT_VECTORS))


def normalised(matrix: np.ndarray) -> np.ndarray:
    """float32 [rows, width]: each row over its L2 norm; a zero row stays zero. Contiguous."""
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.ascontiguousarray(np.divide(matrix, norms, out=np.zeros_like(matrix), where=norms > 0))


def _finished(required: Prerequisites | None, past: pl.LazyFrame, item_ids: pl.Series) -> SeenItems:
    return NOTHING_SEEN if required is None else _seen(required.config.finished(past), item_ids)


def _seen(interactions: pl.LazyFrame, item_ids: pl.Series) -> SeenItems:
    positions = pl.DataFrame({ITEM_ID: item_ids}).with_row_index(ITEM_INDEX).lazy()
    pairs = (
        interactions.select(USER_ID, ITEM_ID)
        .unique()
        .join(positions, on=ITEM_ID)
        .select(USER_ID, pl.col(ITEM_INDEX).cast(pl.Int32))
        .sort(USER_ID, ITEM_INDEX)
        .collect()
    )
    counts = pairs.group_by(USER_ID, maintain_order=True).len()
    starts = np.concatenate([[0], counts["len"].cum_sum().to_numpy()]).astype(np.int64)
    rows = {user: row for row, user in enumerate(counts[USER_ID].to_list())}
    return SeenItems(rows=rows, starts=starts, positions=pairs[ITEM_INDEX].to_numpy())


def needs_reload(held: PublishedRun | None, live: Publication | None) -> bool:
    """Whether the pointer names a run that is not the one held."""
    return live is not None and (held is None or held.run_id != live.run_id)
