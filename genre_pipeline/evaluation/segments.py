"""Where the lists are good and where they are not: by history length, by item popularity, and for cold items.

Belongs here: what the segments are, and the champion's comparison with its best part in each. Metrics come from
`metrics`, intervals from `intervals`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl
from pydantic import Field, PositiveInt, model_validator

from genre_pipeline.contracts.columns import ITEM_ID, RECOMMENDER, USER_ID
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.evaluation.intervals import IntervalConfig, compare, compare_all, summary
from genre_pipeline.evaluation.metrics import NDCG, RANDOM, RECALL, chance_metrics, per_user_metrics

HISTORY, ITEM_POPULARITY, COLD_ITEMS = "history", "item_popularity", "cold_items"

_METRICS_SCHEMA = {
    "kind": pl.String,
    "segment": pl.String,
    "k": pl.UInt32,
    RECOMMENDER: pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "users": pl.UInt32,
}
_AGAINST_SCHEMA = {
    "kind": pl.String,
    "segment": pl.String,
    "k": pl.UInt32,
    "metric": pl.String,
    "users": pl.UInt32,
    "value": pl.Float64,
    "best_part": pl.String,
    "best_value": pl.Float64,
    "difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "p": pl.Float64,
    "is_worse": pl.Boolean,
    "is_clearly_worse": pl.Boolean,
}

_COMPARISON_SCHEMA = {
    "metric": pl.String,
    "versus": pl.String,
    "difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "p": pl.Float64,
    "p_holm": pl.Float64,
}


class SegmentConfig(Settings):
    """Where one segment ends and the next begins."""

    light: PositiveInt = 5
    """A user with 1 to this many training interactions is light; one with none is cold."""
    medium: PositiveInt = 50
    """A user with more than `light` and up to this many is medium; beyond, heavy."""
    head_share: float = Field(default=0.5, gt=0, lt=1)
    """The most popular items that together have this share of the training interactions are the head."""
    mid_share: float = Field(default=0.9, gt=0, lt=1)
    """The next ones, up to this share, are the mid; the rest is the tail."""
    cold_k: PositiveInt = 50
    """How many ranks of the cold-item lists are judged: they rank a catalogue that nobody has touched yet."""

    @model_validator(mode="after")
    def _ordered(self) -> "SegmentConfig":
        if self.light >= self.medium or self.head_share >= self.mid_share:
            raise ValueError("segments must grow: light < medium and head_share < mid_share")
        return self


@dataclass(frozen=True)
class SegmentTables:
    """Metrics by segment, and the champion against its best part in each.

    `metrics`: kind, segment, k, recommender, metric, value, low, high, users.
    `against_best`: kind, segment, k, metric, users, value (the champion's), best_part, best_value, difference, low,
    high, p, is_worse (difference < 0), is_clearly_worse (the whole interval is). The best part is the one with the
    highest mean in that very segment, a choice made in hindsight that favours the part.
    `cold_comparisons`: metric, versus, difference, low, high, p, p_holm: the champion against everybody on cold items.
    """

    metrics: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_METRICS_SCHEMA))
    against_best: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_AGAINST_SCHEMA))
    cold_comparisons: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_COMPARISON_SCHEMA))


@dataclass(frozen=True)
class _Group:
    kind: str
    segment: str
    k: int
    per_user: pl.DataFrame


def history_segments(users: pl.DataFrame, config: SegmentConfig) -> pl.DataFrame:
    """user_id and segment (cold, light, medium, heavy) from user_id and history_length (training interactions)."""
    length = pl.col("history_length")
    segment = (
        pl.when(length <= 0)
        .then(pl.lit("cold"))
        .when(length <= config.light)
        .then(pl.lit("light"))
        .when(length <= config.medium)
        .then(pl.lit("medium"))
        .otherwise(pl.lit("heavy"))
    )
    return users.select(USER_ID, segment.alias("segment"))


def popularity_segments(items: pl.DataFrame, config: SegmentConfig) -> pl.DataFrame:
    """item_id and segment (head, mid, tail) of items that are not cold; ties in popularity go to the smaller item id.

    An item belongs to the head while the more popular ones before it hold less than `head_share` of all interactions,
    and so on; an item without any interaction belongs to the tail.
    """
    ranked = items.filter(~pl.col("is_cold")).sort("popularity", ITEM_ID, descending=[True, False])
    total = max(int(ranked["popularity"].sum()), 1)
    before = (pl.col("popularity").cum_sum() - pl.col("popularity")) / total
    segment = (
        pl.when((before < config.head_share) & (pl.col("popularity") > 0))
        .then(pl.lit("head"))
        .when((before < config.mid_share) & (pl.col("popularity") > 0))
        .then(pl.lit("mid"))
        .otherwise(pl.lit("tail"))
    )
    return ranked.select(ITEM_ID, segment.alias("segment"))


def segment_tables(
    recommendations: pl.DataFrame,
    truth: pl.DataFrame,
    users: pl.DataFrame,
    items: pl.DataFrame,
    k: int,
    *,
    seed: int,
    champion: str = "hybrid",
    cold_recommendations: pl.DataFrame | None = None,
    cold_candidates: pl.DataFrame | None = None,
    metrics: Sequence[str] = (RECALL, NDCG),
    config: SegmentConfig | None = None,
    intervals: IntervalConfig | None = None,
) -> SegmentTables:
    """Judge every segment that has a user.

    * history: the users of the truth by `users.history_length`; one that `users` does not have is cold.
    * item_popularity: the truth restricted to head, mid or tail items, same lists.
    * cold_items: the truth restricted to `items.is_cold`, with `cold_recommendations`, lists over a catalogue that
      includes those items. A recommender without a list there counts as 0: it cannot recommend what is new. With
      `cold_candidates` (user_id, candidates: the size of that catalogue) "random" has a line: chance, in closed form.

    Frames as in `per_user_metrics`; `items` has item_id, popularity (training interactions) and is_cold. Raises
    `ConfigError` where the champion has no list at all.
    """
    config = config or SegmentConfig()
    names = sorted(recommendations[RECOMMENDER].unique())
    groups = [
        *_history_groups(per_user_metrics(recommendations, truth, k), history_segments(users, config), k),
        *_popularity_groups(recommendations, truth, popularity_segments(items, config), k, names),
    ]
    if cold_recommendations is not None:
        groups += _cold_group(cold_recommendations, cold_candidates, truth, items, config.cold_k, names)
    averages = [_labelled(group, summary(group.per_user, seed=seed, config=intervals)) for group in groups]
    against = [
        _against_best(group, average, champion, metric, seed, intervals)
        for group, average in zip(groups, averages, strict=True)
        for metric in metrics
        if len(set(average[RECOMMENDER]) - {RANDOM}) > 1
    ]
    cold = [group.per_user for group in groups if group.kind == COLD_ITEMS]
    against_all = [compare_all(per_user, champion, metrics, seed=seed, config=intervals) for per_user in cold]
    return SegmentTables(
        metrics=_stacked(averages, _METRICS_SCHEMA),
        against_best=_stacked(against, _AGAINST_SCHEMA),
        cold_comparisons=_stacked(against_all, _COMPARISON_SCHEMA),
    )


def _history_groups(per_user: pl.DataFrame, segments: pl.DataFrame, k: int) -> Iterator[_Group]:
    placed = per_user.join(segments, on=USER_ID, how="left").with_columns(pl.col("segment").fill_null("cold"))
    for name in ("cold", "light", "medium", "heavy"):
        members = placed.filter(pl.col("segment") == name).drop("segment")
        if len(members):
            yield _Group(HISTORY, name, k, members)


def _popularity_groups(
    recommendations: pl.DataFrame, truth: pl.DataFrame, segments: pl.DataFrame, k: int, names: Sequence[str]
) -> Iterator[_Group]:
    for name in ("head", "mid", "tail"):
        relevant = truth.join(segments.filter(pl.col("segment") == name), on=ITEM_ID, how="semi")
        if len(relevant):
            yield _Group(ITEM_POPULARITY, name, k, per_user_metrics(recommendations, relevant, k, recommenders=names))


def _cold_group(
    recommendations: pl.DataFrame,
    candidates: pl.DataFrame | None,
    truth: pl.DataFrame,
    items: pl.DataFrame,
    k: int,
    names: Sequence[str],
) -> Iterator[_Group]:
    relevant = truth.join(items.filter("is_cold"), on=ITEM_ID, how="semi")
    if len(relevant):
        everyone = sorted({*names, *recommendations[RECOMMENDER].unique()})
        judged = per_user_metrics(recommendations, relevant, k, recommenders=everyone)
        chance = [] if candidates is None else [chance_metrics(candidates, relevant, k)]
        yield _Group(COLD_ITEMS, "cold", k, pl.concat([judged, *chance]))


def _labelled(group: _Group, rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(
        pl.lit(group.kind).alias("kind"), pl.lit(group.segment).alias("segment"), pl.lit(group.k).alias("k")
    )


def _against_best(
    group: _Group, average: pl.DataFrame, champion: str, metric: str, seed: int, intervals: IntervalConfig | None
) -> pl.DataFrame:
    of_metric = average.filter(pl.col("metric") == metric)
    parts = of_metric.filter(~pl.col(RECOMMENDER).is_in([champion, RANDOM]))
    best = parts.sort("value", RECOMMENDER, descending=[True, False]).row(0, named=True)
    pair = group.per_user.filter(pl.col(RECOMMENDER).is_in([champion, best[RECOMMENDER]]))
    difference = compare(pair, champion, metric, seed=seed, config=intervals)
    row = difference.select("difference", "low", "high", "p").with_columns(
        pl.lit(metric).alias("metric"),
        pl.lit(best["users"]).alias("users"),
        (pl.lit(best["value"]) + pl.col("difference")).alias("value"),
        pl.lit(best[RECOMMENDER]).alias("best_part"),
        pl.lit(best["value"]).alias("best_value"),
        (pl.col("difference") < 0).alias("is_worse"),
        (pl.col("high") < 0).fill_null(False).alias("is_clearly_worse"),
    )
    return _labelled(group, row)


def _stacked(frames: Sequence[pl.DataFrame], schema: dict[str, type[pl.DataType]]) -> pl.DataFrame:
    columns = [pl.col(name).cast(dtype) for name, dtype in schema.items()]
    return pl.concat([frame.select(columns) for frame in frames]) if frames else pl.DataFrame(schema=schema)
