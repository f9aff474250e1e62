"""Ranking metrics of one user's list against what that user did later.

Belongs here: the definition of each accuracy metric. What a list is like apart from being right is in
`list_metrics`; averages and their intervals are in `intervals`.

With R the set of relevant items of a user (the truth), k the cut, and `hit_r` 1 where the item at rank r is in R:

* recall: hits in the first k ranks / |R|. A list of k cannot reach 1 where |R| > k.
* ndcg: Σ hit_r / log2(r + 1), divided by the same sum for an ideal list, which has min(k, |R|) hits at the top
  (Järvelin and Kekäläinen 2002, binary gain).
* mrr: 1 / rank of the first hit, 0 without one.
* hit: 1 with at least one hit, else 0.
* map: Σ hit_r · (hits in the first r ranks / r), divided by min(k, |R|), so that a perfect list scores 1.

A user of the truth without a list counts as 0 in each. A user without truth is not judged.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genre_pipeline.contracts.columns import ITEM_ID, RANK, RECOMMENDER, USER_ID
from genre_pipeline.contracts.errors import ConfigError, ContractError

RECALL, NDCG, MRR, HIT, MAP = "recall", "ndcg", "mrr", "hit", "map"
ACCURACY = (RECALL, NDCG, MRR, HIT, MAP)
RANDOM = "random"
"""What lists drawn at random are called."""


def per_user_metrics(
    recommendations: pl.DataFrame, truth: pl.DataFrame, k: int, *, recommenders: Sequence[str] | None = None
) -> pl.DataFrame:
    """Judge each list; the metrics are defined at the top of this module.

    `recommendations` has recommender, user_id, item_id and rank (from 1); `truth` has user_id and item_id, repeats
    count once. `recommenders` names whom to judge; by default, whoever has a row. Name them where one may have no
    list at all: it then counts as 0, and does not vanish.

    Returns recommender, user_id (String), recall, ndcg, mrr, hit, map (Float64, in [0, 1]): one row for each
    recommender and each user of the truth, sorted by both. Raises `ConfigError` for a k below 1 and `ContractError`
    for an empty truth or a list that repeats an item or a rank.
    """
    relevant = truth.select(USER_ID, ITEM_ID).unique()
    if relevant.is_empty():
        raise ContractError(
            "The truth has no rows: there is nothing to judge",
            remedy="Choose an earlier cut, or a data set in which users known before the cut come back.",
        )
    top = top_ranks(recommendations, k)
    names = sorted(set(recommenders) if recommenders is not None else set(top[RECOMMENDER].unique()))
    sizes = relevant.group_by(USER_ID).agg(pl.len().alias("relevant"))
    grid = pl.DataFrame({RECOMMENDER: names}, schema={RECOMMENDER: pl.String}).join(sizes, how="cross")
    sums = _hit_sums(top.join(relevant, on=[USER_ID, ITEM_ID], how="inner"), k)
    judged = grid.join(sums, on=[RECOMMENDER, USER_ID], how="left").with_columns(
        pl.col("hits", "gain", MRR, "precision").fill_null(0.0)
    )
    return judged.select(RECOMMENDER, USER_ID, *_metric_columns(k)).sort(RECOMMENDER, USER_ID)


def chance_metrics(candidates: pl.DataFrame, truth: pl.DataFrame, k: int) -> pl.DataFrame:
    """What lists drawn at random have on average, in closed form: recall k / n, ndcg by each rank's chance of a hit.

    `candidates` has user_id and candidates (n, Int64: the items a list is drawn from); `truth` as in
    `per_user_metrics`, and a user's relevant items all count as candidates. The frame is that of `per_user_metrics`
    for a recommender "random"; mrr, hit and map are null.
    """
    sizes = truth.select(USER_ID, ITEM_ID).unique().group_by(USER_ID).agg(pl.len().alias("relevant"))
    gained = np.cumsum(_discounts(k))
    joined = sizes.join(candidates, on=USER_ID).sort(USER_ID)
    relevant = joined["relevant"].to_numpy()
    n = np.maximum(joined["candidates"].to_numpy(), relevant)
    ndcg = gained[np.minimum(k, n) - 1] * (relevant / n) / gained[np.minimum(k, relevant) - 1]
    return joined.select(
        pl.lit(RANDOM).alias(RECOMMENDER),
        USER_ID,
        pl.Series(RECALL, np.minimum(1, k / n)),
        pl.Series(NDCG, ndcg),
        *(pl.lit(None, pl.Float64).alias(metric) for metric in (MRR, HIT, MAP)),
    )


def top_ranks(recommendations: pl.DataFrame, k: int) -> pl.DataFrame:
    """The first k ranks of each list: recommender, user_id, item_id, rank.

    Raises `ConfigError` for a k below 1 and `ContractError` where a list repeats an item or a rank: either would count
    one hit twice.
    """
    if k < 1:
        raise ConfigError(f"k is {k}", remedy="Judge at least the first rank: set k to 1 or more.")
    top = recommendations.filter(pl.col(RANK).is_between(1, k)).select(RECOMMENDER, USER_ID, ITEM_ID, RANK)
    repeated = _repeating_lists(top)
    if len(repeated):
        raise ContractError(
            "A list repeats an item or a rank",
            remedy="Give each recommender one row for each user and rank, and each item once in a list.",
            culprits=repeated.rows(),
        )
    return top


def _repeating_lists(top: pl.DataFrame) -> pl.DataFrame:
    user = pl.col(RECOMMENDER).hash(1) ^ pl.col(USER_ID).hash(2)
    distinct = top.select((user ^ pl.col(column).hash(3)).n_unique().alias(column) for column in (ITEM_ID, RANK))
    if all(count == len(top) for count in distinct.row(0)):
        # Equal rows have equal hashes: as many hashes as rows proves that none repeats, at a tenth of the cost.
        return top.select(RECOMMENDER, USER_ID).clear()
    counts = top.group_by(RECOMMENDER, USER_ID).agg(pl.len().alias("rows"), pl.col(ITEM_ID, RANK).n_unique())
    repeats = (pl.col(ITEM_ID) < pl.col("rows")) | (pl.col(RANK) < pl.col("rows"))
    return counts.filter(repeats).select(RECOMMENDER, USER_ID).sort(RECOMMENDER, USER_ID)


def _hit_sums(hits: pl.DataFrame, k: int) -> pl.DataFrame:
    # Sorted first: sums of floats then do not depend on the order in which rows came.
    nth = pl.int_range(1, pl.len() + 1)
    return (
        hits.sort(RECOMMENDER, USER_ID, RANK)
        .group_by(RECOMMENDER, USER_ID, maintain_order=True)
        .agg(
            pl.len().cast(pl.Float64).alias("hits"),
            pl.lit(pl.Series(_discounts(k))).gather(pl.col(RANK) - 1).sum().alias("gain"),
            (1.0 / pl.col(RANK).min()).alias(MRR),
            (nth / pl.col(RANK)).sum().alias("precision"),
        )
    )


def _discounts(k: int) -> NDArray[np.float64]:
    """float64 [k]: 1 / log2(rank + 1) of the ranks from 1."""
    discounts: NDArray[np.float64] = 1.0 / np.log2(np.arange(2, k + 2, dtype=np.float64))
    return discounts


def _metric_columns(k: int) -> list[pl.Expr]:
    ideal_gain = pl.lit(pl.Series(np.cumsum(_discounts(k))))
    ideal_hits = pl.min_horizontal(pl.col("relevant"), pl.lit(k))
    return [
        (pl.col("hits") / pl.col("relevant")).alias(RECALL),
        # Rounding may leave a perfect list a hair above 1.
        (pl.col("gain") / ideal_gain.gather(ideal_hits - 1)).clip(upper_bound=1.0).alias(NDCG),
        pl.col(MRR),
        (pl.col("hits") > 0).cast(pl.Float64).alias(HIT),
        (pl.col("precision") / ideal_hits).clip(upper_bound=1.0).alias(MAP),
    ]
