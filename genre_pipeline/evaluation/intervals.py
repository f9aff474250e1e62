"""How sure the numbers are: bootstrap intervals over users, paired comparisons, and Holm's correction.

Belongs here: everything that resamples. Users are drawn with replacement (Efron and Tibshirani 1993); each draw keeps
all of a user's numbers together, so that recommenders are always compared on the same users. Draws are turned into
counts, and a block of resamples is one matrix product.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from genre_pipeline.contracts.columns import RECOMMENDER, USER_ID
from genre_pipeline.contracts.errors import ConfigError, ContractError
from genre_pipeline.contracts.settings import Settings

Floats = NDArray[np.float64]


class IntervalConfig(Settings):
    """How intervals are computed."""

    resamples: PositiveInt = 1000
    """How many times the users are drawn again."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """How often the interval is meant to cover the true value."""
    min_users: PositiveInt = 10
    """A mean over fewer users has no interval and no p: so few draws know nothing of the users that were not drawn."""
    block_cells: PositiveInt = 2_000_000
    """Drawn users held at once, resamples × users. Bounds memory at about 24 bytes a cell; results do not change."""


def summary(
    per_user: pl.DataFrame,
    *,
    seed: int,
    config: IntervalConfig | None = None,
    metrics: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Average each metric over users, with a percentile bootstrap interval.

    `per_user` has recommender, user_id and one Float64 column a metric, for the same users of each recommender; null
    or NaN where a metric is not defined for a user, who then does not count. `metrics` defaults to every other column.

    Returns recommender, metric (String), value, low, high (Float64, null where no user counts, the interval already
    below `min_users`), users (UInt32: who
    counts), sorted by recommender, metrics in their order. Raises `ContractError` where recommenders were not judged
    on the same users.
    """
    config = config or IntervalConfig()
    names = list(metrics or _metric_names(per_user))
    recommenders, cube = _cube(per_user, names)
    flat = cube.transpose(1, 0, 2).reshape(cube.shape[1], -1)
    users = np.sum(~np.isnan(flat), axis=0)
    low, high = percentile_interval(resampled_means(flat, seed=seed, config=config), config.confidence)
    rows = pl.DataFrame(
        {
            RECOMMENDER: np.repeat(recommenders, len(names)),
            "metric": names * len(recommenders),
            "value": _means(flat),
            "low": np.where(users < config.min_users, np.nan, low),
            "high": np.where(users < config.min_users, np.nan, high),
            "users": users.astype(np.uint32),
        },
        schema_overrides={RECOMMENDER: pl.String, "metric": pl.String},
    )
    return rows.with_columns(pl.col("value", "low", "high").fill_nan(None))


def compare(
    per_user: pl.DataFrame,
    champion: str = "hybrid",
    metric: str = "ndcg",
    *,
    seed: int,
    config: IntervalConfig | None = None,
) -> pl.DataFrame:
    """Champion minus each other recommender, on the same users.

    p is two-sided, from the bootstrap of the differences shifted to mean 0: the share of resamples at least as far
    from 0 as what was observed, (1 + hits) / (1 + resamples), so never below 1 / (1 + resamples). p_holm corrects it
    for the number of comparisons.

    Returns versus (String), difference, low, high, p, p_holm (Float64; null below `min_users`), sorted by difference,
    smallest first. Raises `ConfigError` where the champion was not judged, `ContractError` where users differ.
    """
    return compare_all(per_user, champion, [metric], seed=seed, config=config).drop("metric")


def compare_all(
    per_user: pl.DataFrame,
    champion: str,
    metrics: Sequence[str],
    *,
    seed: int,
    config: IntervalConfig | None = None,
) -> pl.DataFrame:
    """`compare` for several metrics from the same draws; the column metric comes first, metrics in their order.

    p_holm corrects within a metric.
    """
    config = config or IntervalConfig()
    recommenders, cube = _cube(per_user, metrics)
    if champion not in recommenders:
        raise ConfigError(
            f"The champion {champion!r} is not among the judged recommenders",
            remedy="Name one of these as champion.",
            culprits=recommenders,
        )
    at = [place for place, name in enumerate(recommenders) if name != champion]
    differences = cube[recommenders.index(champion)][None] - cube[at]
    flat = differences.transpose(1, 2, 0).reshape(cube.shape[1], -1)
    resampled = resampled_means(flat, seed=seed, config=config)
    tables = [
        _differences(metric, [recommenders[place] for place in at], flat[:, part], resampled[:, part], config)
        for metric, part in ((name, slice(nth * len(at), (nth + 1) * len(at))) for nth, name in enumerate(metrics))
    ]
    return pl.concat(tables)


def _differences(
    metric: str, versus: list[str], differences: Floats, resampled: Floats, config: IntervalConfig
) -> pl.DataFrame:
    means = _means(differences)
    few = np.sum(~np.isnan(differences), axis=0) < config.min_users
    ends = (*percentile_interval(resampled, config.confidence), _two_sided_p(means, resampled))
    low, high, p = (np.where(few, np.nan, end) for end in ends)
    columns = {"versus": versus, "difference": means, "low": low, "high": high, "p": p, "p_holm": holm(p)}
    table = pl.DataFrame(columns, schema_overrides={"versus": pl.String}).sort("difference", "versus")
    return table.select(pl.lit(metric).alias("metric"), pl.exclude(pl.Float64), pl.selectors.float().fill_nan(None))


def resampled_means(values: Floats, *, seed: int, config: IntervalConfig) -> Floats:
    """Means of each column under resampling of the rows.

    `values` is float64 [users, columns], NaN where a user does not count. Returns float64 [resamples, columns]; NaN
    where a resample holds nobody who counts. The same seed draws the same users, whatever the block size.
    """
    users = len(values)
    present = ~np.isnan(values)
    filled = np.where(present, values, 0.0)
    rng = np.random.default_rng(seed)
    means = np.empty((config.resamples, values.shape[1]), dtype=np.float64)
    step = max(1, config.block_cells // max(users, 1))
    for start in range(0, config.resamples, step):
        counts = _drawn_counts(rng, min(step, config.resamples - start), users)
        weights = users if present.all() else counts @ present
        with np.errstate(invalid="ignore"):
            means[start : start + step] = (counts @ filled) / weights
    return means


def percentile_interval(resampled: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Low and high ends of the middle `confidence` share of each column of float64 [resamples, columns]."""
    low, high = (np.full(resampled.shape[1], np.nan) for _ in range(2))
    defined = ~np.isnan(resampled).all(axis=0)
    tail = (1 - confidence) / 2
    if defined.any():
        low[defined], high[defined] = np.nanquantile(resampled[:, defined], [tail, 1 - tail], axis=0)
    return low, high


def holm(p: Floats) -> Floats:
    """Holm's step-down correction (Holm 1979) of float64 [tests]; NaN, a test that could not be made, stays NaN."""
    adjusted = np.full(len(p), np.nan)
    order = np.argsort(p, kind="stable")[: int(np.sum(~np.isnan(p)))]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors)) if len(order) else p[order]
    return adjusted


def _two_sided_p(means: Floats, resampled: Floats) -> Floats:
    # The margin keeps equality, as between lists that tie for every user, from hanging on the last bit.
    far = np.abs(resampled - means) >= np.abs(means) - 1e-12
    p = (1 + np.sum(far, axis=0)) / (1 + len(resampled))
    return np.where(np.isnan(means), np.nan, p)


def _drawn_counts(rng: np.random.Generator, resamples: int, users: int) -> Floats:
    """float64 [resamples, users]: how often each user was drawn; a row sums to the number of users."""
    drawn = rng.integers(0, users, size=(resamples, users))
    drawn += np.arange(resamples, dtype=np.int64)[:, None] * users
    return np.bincount(drawn.ravel(), minlength=resamples * users).reshape(resamples, users).astype(np.float64)


def _means(values: Floats) -> Floats:
    present = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        means: Floats = np.where(present, values, 0.0).sum(axis=0) / present.sum(axis=0)
    return means


def _metric_names(per_user: pl.DataFrame) -> list[str]:
    return [name for name in per_user.columns if name not in (RECOMMENDER, USER_ID)]


def _cube(per_user: pl.DataFrame, metrics: Sequence[str]) -> tuple[list[str], Floats]:
    """Names, and float64 [recommenders, users, metrics] with users in one order."""
    ordered = per_user.sort(RECOMMENDER, USER_ID)
    recommenders: list[str] = ordered[RECOMMENDER].unique(maintain_order=True).to_list()
    users = len(ordered) // len(recommenders) if recommenders else 0
    uneven = ordered.group_by(RECOMMENDER).len().filter(pl.col("len") != users)[RECOMMENDER].sort().to_list()
    if not users or uneven or not ordered[USER_ID].equals(_repeated(ordered[USER_ID].head(users), len(recommenders))):
        raise ContractError(
            "The recommenders were not judged on the same users",
            remedy="Give one row for each recommender and each user, as `per_user_metrics` does.",
            culprits=uneven,
        )
    values = ordered.select(pl.col(metrics).cast(pl.Float64).fill_null(float("nan"))).to_numpy()
    return recommenders, values.reshape(len(recommenders), users, len(metrics))


def _repeated(users: pl.Series, times: int) -> pl.Series:
    return pl.concat([users] * times)
