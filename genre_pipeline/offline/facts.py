"""What a run decided and met, in the frames that the evaluation report shows."""

import json

import polars as pl

from genre_pipeline.contracts.columns import RECOMMENDER
from genre_pipeline.evaluation.result import BLEND_SCHEMA, QUALITY_SCHEMA, REJECTED_SCHEMA, RunFacts
from genre_pipeline.preprocessing.dataset import Dataset
from genre_pipeline.recommenders.blending import BlendWeights
from genre_pipeline.recommenders.suite import Tuned


def run_facts(tuned: Tuned, data: Dataset, cost: pl.DataFrame) -> RunFacts:
    """Chosen settings, blend weights, cost (recommender, fit_seconds, score_seconds, peak_memory_mb) and row books."""
    return RunFacts(
        settings={name: json.loads(settings.model_dump_json()) for name, settings in tuned.settings.items()},
        blend_weights=blend_table(tuned.weights),
        cost=cost,
        quality=quality_table(data),
        rejected=_rejected_table(data.rejected),
    )


def blend_table(weights: BlendWeights) -> pl.DataFrame:
    """segment, recommender, weight: one row each."""
    starts, ends = (0, *weights.edges), (*(edge - 1 for edge in weights.edges), None)
    names = [
        f"{start}–{end} items" if end is not None else f"{start} items and more"
        for start, end in zip(starts, ends, strict=True)
    ]
    rows = [
        {"segment": name, RECOMMENDER: part, "weight": weight}
        for name, row in zip(names, weights.weights, strict=True)
        for part, weight in zip(weights.parts, row, strict=True)
    ]
    return pl.DataFrame(rows, schema=BLEND_SCHEMA)


def quality_table(data: Dataset) -> pl.DataFrame:
    """table, read, kept, rejected, duplicates."""
    rows = [{"table": table, **vars(counts)} for table, counts in data.counts.items()]
    return pl.DataFrame(rows, schema=QUALITY_SCHEMA)


def _rejected_table(rejected: pl.DataFrame) -> pl.DataFrame:
    counts = rejected.group_by("table", "rule", maintain_order=True).agg(pl.len().cast(pl.Int64).alias("rows"))
    return counts.cast(REJECTED_SCHEMA)  # type: ignore[arg-type]
