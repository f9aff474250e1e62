"""What lists are like, apart from being right: coverage, concentration, novelty, diversity, calibration.

Belongs here: the definition of each metric beyond accuracy. Those that are a mean over lists come as one value a user
and get their interval in `intervals`; coverage and Gini describe all lists together.
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from genre_pipeline.contracts.columns import CATEGORIES, ITEM_ID, RECOMMENDER, USER_ID
from genre_pipeline.contracts.errors import ContractError
from genre_pipeline.evaluation.metrics import top_ranks

NOVELTY, POPULARITY, DIVERSITY, MISCALIBRATION = "novelty", "average_popularity", "diversity", "miscalibration"
COVERAGE, GINI = "coverage", "gini"
_CALIBRATION_SMOOTHING = 0.01
_LISTS_AT_ONCE = 8192


@dataclass(frozen=True)
class ListMembership:
    """Which item is in which list, once for all metrics that are a mean over lists."""

    lists: pl.DataFrame
    """recommender, user_id: sorted, a row a list."""
    members: sparse.csr_matrix
    """float32 [lists, items], 1 where the item is in the list."""


def list_membership(recommendations: pl.DataFrame, item_ids: pl.Series, k: int) -> ListMembership:
    """The first k ranks of each list as a matrix; column i is `item_ids[i]`, each id once.

    Raises `ContractError` for a recommended item that `item_ids` does not have, or a list that repeats one.
    """
    return _membership(top_ranks(recommendations, k), item_ids)


def novelty_and_popularity(membership: ListMembership, items: pl.DataFrame) -> pl.DataFrame:
    """Mean over a list of -log2(popularity share) and of the popularity itself.

    The share is the item's training interactions over all of them (Zhou et al. 2010, self-information); an item
    without any counts as one with a single one, since log2(0) has no mean. `items` has popularity, rows as the
    membership's columns.

    Returns recommender, user_id, novelty (bits), average_popularity (interactions): a row a list, sorted.
    """
    popularity = items["popularity"].to_numpy().astype(np.float64)
    bits = -np.log2(np.maximum(popularity, 1.0) / max(popularity.sum(), 1.0))
    length = np.asarray(membership.members.sum(axis=1), dtype=np.float64).ravel()
    means = {NOVELTY: membership.members @ bits / length, POPULARITY: membership.members @ popularity / length}
    return membership.lists.with_columns(pl.Series(name, mean) for name, mean in means.items())


def intra_list_diversity(
    membership: ListMembership, vectors: "NDArray[np.float32] | sparse.csr_matrix"
) -> pl.DataFrame:
    """Mean of 1 - cosine over the pairs of a list (Ziegler et al. 2005).

    `vectors` is float32 [items, width], dense or sparse, rows as the membership's columns; it need not be normalised.
    An item whose vector is all zero has no place in a pair; a list with fewer than two others has no value (null).

    Returns recommender, user_id, diversity (Float64), a row a list, sorted. The pairs are never formed: with unit
    vectors their cosines add up to (|Σv|² - m) / 2.
    """
    units, has_vector = _unit_rows(vectors)
    members = sparse.csr_matrix(membership.members @ sparse.diags_array(has_vector.astype(np.float32)))
    m = np.asarray(members.sum(axis=1), dtype=np.float64).ravel()
    energy = _energy_of_sums(members, units)
    with np.errstate(divide="ignore", invalid="ignore"):
        diversity = np.where(m > 1, 1.0 - (energy - m) / (m * (m - 1)), np.nan)
    return membership.lists.with_columns(pl.Series(DIVERSITY, diversity, dtype=pl.Float64).fill_nan(None))


def category_vectors(items: pl.DataFrame) -> sparse.csr_matrix:
    """float32 [items, categories] with 1 where an item carries a category, rows as in `items`.

    For `intra_list_diversity`: the cosine of two such rows is their overlap over the geometric mean of their sizes.
    """
    rows = items.select(CATEGORIES).with_row_index("row").explode(CATEGORIES).drop_nulls().unique(maintain_order=True)
    names = rows[CATEGORIES].unique().sort()
    columns = rows.join(
        pl.DataFrame({CATEGORIES: names}).with_row_index("column"), on=CATEGORIES, maintain_order="left"
    )
    cells = (columns["row"].to_numpy(), columns["column"].to_numpy())
    return sparse.csr_matrix((np.ones(len(columns), dtype=np.float32), cells), shape=(len(items), max(len(names), 1)))


def miscalibration(membership: ListMembership, history: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """How far the categories of a list are from those of the user's history (Steck 2018): KL(p ‖ q̃), 0 is best.

    Each item spreads a weight of 1 evenly over its categories; p is the history's mix, q the list's, and
    q̃ = 0.99 q + 0.01 p keeps the divergence finite. `history` has user_id and item_id (training); `items` has
    item_id and categories, rows as the membership's columns. A user whose history or list has no category has no row.

    Returns recommender, user_id, miscalibration (Float64, nats), sorted.
    """
    shares = _category_shares(items)
    past = history.select(pl.lit("").alias(RECOMMENDER), USER_ID, ITEM_ID).join(items, on=ITEM_ID, how="semi")
    before = _membership(past, items[ITEM_ID])
    pasts = before.lists.select(USER_ID).with_row_index("past")
    rows = membership.lists.join(pasts, on=USER_ID, how="left", maintain_order="left")
    judged = rows.with_row_index("list").drop_nulls("past")
    divergence = _divergences(
        membership.members[judged["list"].to_numpy()] @ shares,
        (before.members @ shares)[judged["past"].to_numpy()],
    )
    column = pl.Series(MISCALIBRATION, divergence, dtype=pl.Float64)
    return judged.select(RECOMMENDER, USER_ID).with_columns(column).drop_nans()


def catalogue_metrics(
    recommendations: pl.DataFrame, catalogue: pl.Series, k: int, *, confidence: float = 0.95
) -> pl.DataFrame:
    """Coverage and Gini of all lists together.

    Coverage is distinct recommended items / catalogue; its interval is the jackknife's over users, because a bootstrap
    draws fewer distinct users and so covers less. Gini is that of the exposure over the whole catalogue (never
    recommended items are 0): 0 where all get the same, towards 1 where one gets everything; it has no interval.

    `catalogue` holds the ids that the lists could have named. Returns recommender, metric, value, low, high, users, as
    `intervals.summary`. Raises `ContractError` for a recommended item that the catalogue does not have.
    """
    top = _with_known_items(top_ranks(recommendations, k), pl.DataFrame({ITEM_ID: catalogue.unique()}))
    size = catalogue.n_unique()
    exposure = top.group_by(RECOMMENDER, ITEM_ID).agg(pl.len().alias("lists"))
    spread = _coverage_spread(top, exposure, size).with_columns(
        (NormalDist().inv_cdf((1 + confidence) / 2) * pl.col("deviation")).alias("reach")
    )
    coverage = spread.select(
        RECOMMENDER,
        pl.lit(COVERAGE).alias("metric"),
        pl.col("covered").alias("value"),
        (pl.col("covered") - pl.col("reach")).clip(0.0, 1.0).alias("low"),
        (pl.col("covered") + pl.col("reach")).clip(0.0, 1.0).alias("high"),
        "users",
    )
    gini = _gini(exposure, size).join(spread.select(RECOMMENDER, "users"), on=RECOMMENDER)
    return pl.concat([coverage, gini.select(coverage.columns)]).sort(RECOMMENDER, "metric")


def _coverage_spread(top: pl.DataFrame, exposure: pl.DataFrame, size: int) -> pl.DataFrame:
    # Without one user, coverage falls by the items that only this user's list names: the jackknife in closed form.
    alone = exposure.filter(pl.col("lists") == 1).select(RECOMMENDER, ITEM_ID, pl.lit(1.0).alias("alone"))
    by_user = (
        top.join(alone, on=[RECOMMENDER, ITEM_ID], how="left")
        .group_by(RECOMMENDER, USER_ID)
        .agg(pl.col("alone").sum())
        .sort(RECOMMENDER, USER_ID)
    )
    variance = (pl.len() - 1) / pl.len() * ((pl.col("alone") - pl.col("alone").mean()) / size).pow(2).sum()
    spread = by_user.group_by(RECOMMENDER).agg(pl.len().alias("users"), variance.sqrt().alias("deviation"))
    covered = exposure.group_by(RECOMMENDER).agg((pl.len() / size).alias("covered"))
    return spread.join(covered, on=RECOMMENDER)


def _gini(exposure: pl.DataFrame, size: int) -> pl.DataFrame:
    # Items never recommended come first in the order of exposure; they add nothing but move the others' places.
    place = size - pl.len() + pl.int_range(1, pl.len() + 1)
    weighted = ((2 * place - size - 1) * pl.col("lists").cast(pl.Float64)).sum()
    return (
        exposure.sort(RECOMMENDER, "lists")
        .group_by(RECOMMENDER, maintain_order=True)
        .agg((weighted / (size * pl.col("lists").sum())).alias("value"))
        .with_columns(
            pl.lit(GINI).alias("metric"),
            pl.lit(None, dtype=pl.Float64).alias("low"),
            pl.lit(None, dtype=pl.Float64).alias("high"),
        )
    )


def _membership(rows: pl.DataFrame, item_ids: pl.Series) -> ListMembership:
    positions = pl.DataFrame({ITEM_ID: item_ids, "position": np.arange(len(item_ids), dtype=np.int64)})
    placed = _with_known_items(rows, positions).sort(RECOMMENDER, USER_ID, "position")
    lists = placed.group_by(RECOMMENDER, USER_ID, maintain_order=True).agg(pl.len().alias("length"))
    ends = np.concatenate([[0], np.cumsum(lists["length"].to_numpy())])
    ones = np.ones(len(placed), dtype=np.float32)
    members = sparse.csr_matrix((ones, placed["position"].to_numpy(), ends), shape=(len(lists), len(item_ids)))
    return ListMembership(lists.select(RECOMMENDER, USER_ID), members)


def _category_shares(items: pl.DataFrame) -> sparse.csr_matrix:
    """float64 [items, categories]: each item's weight of 1, spread evenly; a row of 0 without categories."""
    carried = category_vectors(items).astype(np.float64)
    counts = np.asarray(carried.sum(axis=1)).ravel()
    return sparse.csr_matrix(sparse.diags_array(1.0 / np.maximum(counts, 1.0)) @ carried)


def _divergences(lists: sparse.csr_matrix, histories: sparse.csr_matrix) -> NDArray[np.float64]:
    """KL(p ‖ q̃) of row i of `histories` (p) and row i of `lists` (q), float64 [rows]; NaN where either is empty."""
    starts = range(0, lists.shape[0], _LISTS_AT_ONCE)
    blocks = [_divergence(*(side[at : at + _LISTS_AT_ONCE].toarray() for side in (lists, histories))) for at in starts]
    return np.concatenate(blocks) if blocks else np.zeros(0)


def _divergence(q: NDArray[np.float64], p: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        p, q = p / p.sum(axis=1, keepdims=True), q / q.sum(axis=1, keepdims=True)
        smoothed = (1 - _CALIBRATION_SMOOTHING) * q + _CALIBRATION_SMOOTHING * p
        terms = np.where(p == 0, 0.0, p * np.log(p / smoothed))
    divergence: NDArray[np.float64] = np.maximum(terms.sum(axis=1), 0.0)
    return divergence


def _with_known_items(top: pl.DataFrame, facts: pl.DataFrame) -> pl.DataFrame:
    unknown = top.select(ITEM_ID).unique().join(facts, on=ITEM_ID, how="anti")[ITEM_ID].sort()
    if len(unknown):
        raise ContractError(
            "A list names items that the catalogue does not have",
            remedy="Give the catalogue that was ranked, or drop these items from the lists.",
            culprits=unknown.to_list(),
        )
    return top.join(facts, on=ITEM_ID, how="left")


def _unit_rows(vectors: "NDArray[np.float32] | sparse.csr_matrix") -> "tuple[Any, NDArray[np.bool_]]":
    norms = np.sqrt(_row_energy(vectors))
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    if sparse.issparse(vectors):
        return sparse.diags_array(scale) @ vectors, norms > 0
    return vectors * scale[:, None].astype(np.float32), norms > 0


def _row_energy(rows: Any) -> NDArray[np.float64]:
    if sparse.issparse(rows):
        return np.asarray(rows.multiply(rows).sum(axis=1), dtype=np.float64).ravel()
    energy: NDArray[np.float64] = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    return energy


def _energy_of_sums(membership: sparse.csr_matrix, units: Any) -> NDArray[np.float64]:
    """float64 [lists]: the squared length of the sum of each list's vectors, a block of lists at a time."""
    starts = range(0, membership.shape[0], _LISTS_AT_ONCE)
    blocks = [_row_energy(membership[start : start + _LISTS_AT_ONCE] @ units) for start in starts]
    return np.concatenate(blocks) if blocks else np.zeros(0)
