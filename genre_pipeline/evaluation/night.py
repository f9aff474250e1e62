"""What a run report tells beside the evaluation: the night against the one before it, as frames, and what they come to.

Belongs here: the shape of these facts and their comparison. Gathering them is the graph's, showing them the report's.
"""

from dataclasses import dataclass, field

import polars as pl

from genre_pipeline.contracts.columns import RECOMMENDER
from genre_pipeline.contracts.tables import OnlineMetrics
from genre_pipeline.evaluation.drift import DRIFT_SCHEMA
from genre_pipeline.evaluation.experiment import Experiment
from genre_pipeline.evaluation.list_changes import ListChanges

ROWS_SCHEMA = pl.Schema({"table": pl.String(), "rows": pl.Int64(), "before": pl.Int64()})
CHECKS_SCHEMA = pl.Schema(
    {"check": pl.String(), "asset": pl.String(), "is_passed": pl.Boolean(), "is_blocking": pl.Boolean()}
)
REASONS_SCHEMA = pl.Schema({"table": pl.String(), "reason": pl.String(), "count": pl.Int64()})
TIMES_SCHEMA = pl.Schema({"asset": pl.String(), "seconds": pl.Float64(), "status": pl.String()})
METRIC_CHANGES_SCHEMA = pl.Schema(
    {
        RECOMMENDER: pl.String(),
        "metric": pl.String(),
        "value": pl.Float64(),
        "before": pl.Float64(),
        "difference": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
    }
)


@dataclass(frozen=True)
class NightFacts:
    """One night. Everything that compares is against `before`, the last day that was published before it."""

    day: str
    before: str | None = None
    metrics: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=METRIC_CHANGES_SCHEMA))
    """As `metric_changes` gives it."""
    changes: ListChanges | None = None
    online: pl.DataFrame = field(default_factory=OnlineMetrics.create_empty)
    """Schema `OnlineMetrics`."""
    ranks: pl.DataFrame = field(default_factory=pl.DataFrame)
    """As `rank_metrics` gives it."""
    experiment: Experiment | None = None
    rows: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=ROWS_SCHEMA))
    """table, rows, before: how many rows each table of the day has, and had."""
    checks: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=CHECKS_SCHEMA))
    """check, asset, is_passed, is_blocking: those of the day, each as it went last."""
    rejected: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=REASONS_SCHEMA))
    """table, reason, count: rows and files that were left out."""
    drift: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=DRIFT_SCHEMA))
    """See `drift`."""
    times: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=TIMES_SCHEMA))
    """asset, seconds, status: what each took when it was last made, the slowest first."""


def metric_changes(now: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """Each metric of each recommender less what it was, as `METRIC_CHANGES_SCHEMA`, in the order of `now`.

    Frames have recommender, metric, value, low, high (`EvaluationResult.metrics`). Two nights judge other users on
    other days, so the interval of the difference takes them as independent: its half-width is the root of the sum of
    the two half-widths' squares. Where nights share users it is too wide rather than too narrow.
    """
    both = now.join(
        before.select(RECOMMENDER, "metric", pl.col("value", "low", "high").name.suffix("_before")),
        on=[RECOMMENDER, "metric"],
        how="left",
        maintain_order="left",
    )
    reach = [(pl.col(f"high{of}") - pl.col(f"low{of}")) / 2 for of in ("", "_before")]
    difference = pl.col("value") - pl.col("value_before")
    width = (reach[0].pow(2) + reach[1].pow(2)).sqrt()
    return both.select(
        RECOMMENDER,
        "metric",
        "value",
        pl.col("value_before").alias("before"),
        difference.alias("difference"),
        (difference - width).alias("low"),
        (difference + width).alias("high"),
    ).cast(METRIC_CHANGES_SCHEMA)
