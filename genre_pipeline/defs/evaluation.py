"""How good the day's recommenders are, on what users did after a cut that none of them has seen."""

import json

import dagster as dg
import polars as pl

from genre_pipeline.contracts.names import EVALUATION, INTERACTIONS, ITEMS, USERS
from genre_pipeline.defs.materialise import Result, daily_asset, passed, result
from genre_pipeline.defs.night import load_night, sayer
from genre_pipeline.defs.shape import RECOMMENDER_VECTORS
from genre_pipeline.evaluation.console import markdown_table
from genre_pipeline.evaluation.report import render_report
from genre_pipeline.offline.evaluate import evaluate_dataset
from genre_pipeline.project import Project

GROUP = "evaluation"
NDCG = "ndcg"


@daily_asset(
    group=GROUP,
    same_day=[ITEMS, USERS, *RECOMMENDER_VECTORS],
    all_days=[INTERACTIONS],
    checks=["hybrid_beats_popularity"],
)
def evaluation(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """Every recommender and the hybrid on the time protocol: trained before the cut, tuned inside that part, ranking
    the whole catalogue known at the cut. The report is a page of its own.
    """
    day = context.partition_key
    night = load_night(project, day)
    found = evaluate_dataset(night, project.config, protocol="time", step_days=7, say=sayer(context)).result
    frame = found.metrics
    manifest = project.partitions.write(EVALUATION, day, frame, decisions={"cut": found.protocol.cut})
    folder = project.home / "reports" / day
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.html").write_text(render_report(found), encoding="utf-8")
    (folder / "metrics.json").write_text(json.dumps(found.to_json(), indent=1), encoding="utf-8")
    ours, floor = ndcg_of(frame, "hybrid"), ndcg_of(frame, "popularity")
    check = passed(EVALUATION, "hybrid_beats_popularity", ours > floor, hybrid=ours, popularity=floor)
    return result(
        frame,
        manifest,
        checks=[check],
        report=dg.MetadataValue.path(str(folder / "report.html")),
        table=dg.MetadataValue.md(markdown_table(found)),
    )


def ndcg_of(metrics: pl.DataFrame, recommender: str) -> float:
    """One recommender's nDCG in a frame of metrics (recommender, metric, value)."""
    return float(metrics.filter(recommender=recommender, metric=NDCG)["value"].item())


ASSETS = [evaluation]
