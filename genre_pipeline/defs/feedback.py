"""What became of the lists that were shown."""

import base64
import json
from pathlib import Path

import dagster as dg
import polars as pl

from genre_pipeline.contracts.columns import ITEM_ID
from genre_pipeline.contracts.names import ITEM_STATISTICS, ITEMS, ONLINE_METRICS
from genre_pipeline.contracts.tables import OnlineMetrics
from genre_pipeline.defs.evaluation import GROUP
from genre_pipeline.defs.materialise import Result, daily_asset, keeps_contract, picture, result
from genre_pipeline.evaluation.console import markdown_rows
from genre_pipeline.evaluation.experiment import Experiment, experiment_json, experiment_notes, experiment_rows
from genre_pipeline.evaluation.feedback import online_metrics as metrics_of
from genre_pipeline.evaluation.feedback import rank_metrics
from genre_pipeline.evaluation.feedback_figure import feedback_figure
from genre_pipeline.offline.feedback import experiment_on, shown_until
from genre_pipeline.project import Project, as_of

RANKS_FILE, EXPERIMENT_FILE = "ranks.parquet", "experiment.json"
NO_FEEDBACK = (
    "No impression was posted in these days, so there is nothing to measure. Applications post what they show and what "
    "is clicked to POST /v1/events; docs/serving.md says how."
)
_SHARES_CLAIM = "arms_have_their_shares"


@daily_asset(
    group=GROUP,
    same_day=[ITEMS, ITEM_STATISTICS],
    checks=["keeps_its_contract", _SHARES_CLAIM],
)
def online_metrics(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """Click-through rate, coverage and novelty of what was shown, by day and variant, and the rate by rank. Each night
    counts the last `feedback.days` days again from the event log, so that what arrives late is in.
    """
    day, config = context.partition_key, project.config
    shown = shown_until(project.tables, day, config)
    intervals = config.evaluation.intervals
    statistics = project.partitions.read(ITEM_STATISTICS, day)
    frame = metrics_of(
        shown,
        statistics.select(ITEM_ID, pl.col("interactions_total").alias("popularity")),
        project.partitions.manifest(ITEMS, day).rows,
        as_of=as_of(day), seed=config.seed, config=config.feedback, intervals=intervals,
    )  # fmt: skip
    ranks = rank_metrics(shown, seed=config.seed, intervals=intervals)
    found = experiment_on(shown, config)
    manifest = project.partitions.write(
        ONLINE_METRICS,
        day,
        frame,
        decisions={**config.feedback.model_dump(mode="json"), "impressions": shown.height},
        companions=lambda folder: _keep(folder, ranks, found),
    )
    if shown.is_empty():
        context.log.info(NO_FEEDBACK)
    checks = [keeps_contract(ONLINE_METRICS, frame, OnlineMetrics), _shares_check(found)]
    return result(frame, manifest, checks=checks, **_looks(frame, ranks, found))


def _keep(folder: Path, ranks: pl.DataFrame, found: Experiment) -> None:
    ranks.write_parquet(folder / RANKS_FILE)
    (folder / EXPERIMENT_FILE).write_text(json.dumps(experiment_json(found), indent=1), encoding="utf-8")


def _looks(metrics: pl.DataFrame, ranks: pl.DataFrame, found: Experiment) -> dict[str, dg.MetadataValue]:
    if metrics.is_empty():
        return {"feedback": dg.MetadataValue.md(NO_FEEDBACK)}
    uri = f"data:image/png;base64,{base64.b64encode(feedback_figure(metrics, ranks)).decode()}"
    words = "\n\n".join([markdown_rows(experiment_rows(found)), *experiment_notes(found)])
    return {
        "feedback": picture(uri, "By rank, a rate tells of the users' attention and of the items' order together."),
        "experiment": dg.MetadataValue.md(words),
    }


def _shares_check(found: Experiment) -> dg.AssetCheckResult:
    """A warning, which stops nothing: the lists are what they are, the comparison is not to be believed."""
    return dg.AssetCheckResult(
        passed=not found.has_mismatch,
        check_name=f"{ONLINE_METRICS}_{_SHARES_CLAIM}",
        asset_key=ONLINE_METRICS,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"p": "not tested" if found.mismatch_p is None else found.mismatch_p},
    )


ASSETS = [online_metrics]
