"""What an evaluation found: one frozen value, and its JSON form, `metrics.json`.

Belongs here: the shape of the result. The report and the terminal table read it, nothing computes it here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from genre_pipeline.contracts.columns import RECOMMENDER
from genre_pipeline.evaluation.segments import SegmentTables

LAYOUT = 1
"""Goes up when a key of `metrics.json` changes its meaning or goes away."""

COST_SCHEMA = {
    RECOMMENDER: pl.String,
    "fit_seconds": pl.Float64,
    "score_seconds": pl.Float64,
    "peak_memory_mb": pl.Float64,
}
VALIDATION_SCHEMA = {RECOMMENDER: pl.String, "difference": pl.Float64, "low": pl.Float64, "high": pl.Float64}
WRITTEN_SCHEMA = {RECOMMENDER: pl.String, "tokens": pl.Int64, "cost": pl.Float64, "seconds": pl.Float64}
QUALITY_SCHEMA = {
    "table": pl.String,
    "read": pl.Int64,
    "kept": pl.Int64,
    "rejected": pl.Int64,
    "duplicates": pl.Int64,
}
REJECTED_SCHEMA = {"table": pl.String, "rule": pl.String, "rows": pl.Int64}
BLEND_SCHEMA = {"segment": pl.String, RECOMMENDER: pl.String, "weight": pl.Float64}


@dataclass(frozen=True)
class Protocol:
    """How the lists were judged: what a reader must know to trust or repeat the numbers."""

    name: str
    """time, leave-one-out or rolling."""
    cut: str | None
    """ISO time of the cut; None where each user has an own one, or where the source knows no clock."""
    k: int
    seed: int
    users: int
    """Users judged: those of the truth."""
    items: int
    """Items that the main lists could name."""
    train_interactions: int
    test_interactions: int
    resamples: int
    confidence: float
    data: str = ""
    """The data set's name."""
    notes: tuple[str, ...] = ()
    """Sentences for the report: anything special in this run."""


@dataclass(frozen=True)
class RunFacts:
    """What the run knows and the metrics do not. Each part may be missing; the report then leaves its section out."""

    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Recommender to its chosen hyper-parameters, JSON values."""
    blend_weights: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=BLEND_SCHEMA))
    """segment, recommender, weight: the hybrid's weights by history length."""
    cost: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=COST_SCHEMA))
    """recommender, fit_seconds, score_seconds, peak_memory_mb; null where not measured."""
    written: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=WRITTEN_SCHEMA))
    """recommender, tokens, cost (money), seconds: what a language model's texts took, paid for now or before."""
    validation: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=VALIDATION_SCHEMA))
    """recommender, difference, low, high: nDCG less the champion's inside the training part, with its interval."""
    quality: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=QUALITY_SCHEMA))
    """table, read, kept, rejected, duplicates: rows."""
    rejected: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=REJECTED_SCHEMA))
    """table, rule, rows."""


@dataclass(frozen=True)
class ExampleItem:
    """One item as the report shows it."""

    item_id: str
    title: str
    categories: tuple[str, ...] = ()
    is_hit: bool = False
    """The user did interact with it in the test part."""


@dataclass(frozen=True)
class ExampleUser:
    """One user's past, future and lists, side by side."""

    user_id: str
    history_length: int
    history: tuple[ExampleItem, ...]
    """The last items of the training part, newest first."""
    relevant: tuple[ExampleItem, ...]
    """The test part."""
    lists: Mapping[str, tuple[ExampleItem, ...]]


@dataclass(frozen=True)
class EvaluationResult:
    """Everything that was found.

    `metrics`: recommender, metric, value, low, high, users (accuracy and list metrics; null interval where a metric
    has none). `comparisons`: metric, versus, difference, low, high, p, p_holm. `segments`: see `SegmentTables`.
    """

    protocol: Protocol
    champion: str
    metrics: pl.DataFrame
    comparisons: pl.DataFrame
    segments: SegmentTables
    run: RunFacts = field(default_factory=RunFacts)
    examples: tuple[ExampleUser, ...] = ()

    def recommenders(self, metric: str = "ndcg") -> list[str]:
        """Names, best first by a metric's value; equal values by name."""
        rows = self.metrics.filter(pl.col("metric") == metric).sort("value", RECOMMENDER, descending=[True, False])
        return rows[RECOMMENDER].to_list()

    def to_json(self) -> dict[str, Any]:
        """The content of `metrics.json`, plain JSON values. Examples name users and stay out.

        Keys: layout, protocol, data, cut, k, seed, users, items, train_interactions, test_interactions, resamples,
        confidence, notes, champion, recommenders {name: {metric: {value, low, high, users}}}, comparisons [{metric,
        versus, difference, low, high, p, p_holm}], segments [{kind, segment, k, users, recommenders {name: {metric:
        {value, low, high}}}}], against_best and cold_comparisons (rows of `SegmentTables`), settings {name: {...}},
        blend_weights {segment: {recommender: weight}}, cost {name: {fit_seconds, score_seconds, peak_memory_mb}},
        written {name: {tokens, cost, seconds}}, validation {name: {difference, low, high}}, quality
        {tables [...], rejected [...]}.
        """
        p = self.protocol
        return {
            "layout": LAYOUT,
            "protocol": p.name,
            "data": p.data,
            "cut": p.cut,
            "k": p.k,
            "seed": p.seed,
            "users": p.users,
            "items": p.items,
            "train_interactions": p.train_interactions,
            "test_interactions": p.test_interactions,
            "resamples": p.resamples,
            "confidence": p.confidence,
            "notes": list(p.notes),
            "champion": self.champion,
            "recommenders": _by_recommender(self.metrics, ("value", "low", "high", "users")),
            "comparisons": _finite(self.comparisons).to_dicts(),
            "segments": _segments_json(self.segments.metrics),
            "against_best": _finite(self.segments.against_best).to_dicts(),
            "cold_comparisons": _finite(self.segments.cold_comparisons).to_dicts(),
            **_run_json(self.run),
        }


def _run_json(run: RunFacts) -> dict[str, Any]:
    weights: dict[str, dict[str, float]] = {}
    for row in run.blend_weights.to_dicts():
        weights.setdefault(row["segment"], {})[row[RECOMMENDER]] = row["weight"]
    cost, written, validation = (
        {row.pop(RECOMMENDER): row for row in _finite(one).to_dicts()}
        for one in (run.cost, run.written, run.validation)
    )
    return {
        "settings": {name: dict(chosen) for name, chosen in run.settings.items()},
        "blend_weights": weights,
        "cost": cost,
        "written": written,
        "validation": validation,
        "quality": {"tables": run.quality.to_dicts(), "rejected": run.rejected.to_dicts()},
    }


def _by_recommender(rows: pl.DataFrame, columns: tuple[str, ...]) -> dict[str, dict[str, dict[str, Any]]]:
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for row in _finite(rows).to_dicts():
        table.setdefault(row[RECOMMENDER], {})[row["metric"]] = {name: row[name] for name in columns}
    return table


def _segments_json(rows: pl.DataFrame) -> list[dict[str, Any]]:
    parts = rows.partition_by("kind", "segment", maintain_order=True)
    return [
        {
            **part.select("kind", "segment", "k", pl.col("users").max()).row(0, named=True),
            "recommenders": _by_recommender(part, ("value", "low", "high")),
        }
        for part in parts
    ]


def _finite(rows: pl.DataFrame) -> pl.DataFrame:
    # JSON has no NaN or infinity.
    floats = pl.selectors.float()
    return rows.with_columns(pl.when(floats.is_finite()).then(floats))
