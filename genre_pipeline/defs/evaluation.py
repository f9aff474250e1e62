"""How good the day's recommenders are, on what users did after a cut that none of them has seen."""

import dagster as dg
import polars as pl

from genre_pipeline.contracts.columns import DAY
from genre_pipeline.contracts.names import EVALUATION, INTERACTIONS, ITEMS, USERS
from genre_pipeline.defs.materialise import Result, daily_asset, passed, result
from genre_pipeline.defs.night import load_night, sayer
from genre_pipeline.defs.shape import RECOMMENDER_VECTORS
from genre_pipeline.evaluation.ablation import ablation_markdown, ablation_metrics, choice_line
from genre_pipeline.evaluation.console import markdown_table
from genre_pipeline.offline.ablation import evaluate_with_ablations
from genre_pipeline.offline.run_report import REPORT_FILE, write_parts
from genre_pipeline.offline.writing import write_reports
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
    the whole catalogue known at the cut. The report is a page of its own, which `run_report` adds the night to;
    `evaluation.ablate` adds to it.
    """
    day = context.partition_key
    night = load_night(project, day)
    evaluated = evaluate_with_ablations(night, project.config, protocol="time", step_days=7, say=sayer(context))
    found, frame = evaluated.result, evaluated.result.metrics
    manifest = project.partitions.write(EVALUATION, day, frame, decisions={"cut": found.protocol.cut})
    folder = project.reports(day)
    files = [folder / name for name in write_reports(evaluated, folder)]
    write_parts(evaluated, folder)
    for name, ablation in evaluated.ablations.items():
        project.models.log_evaluation(
            EVALUATION,
            run_name=f"{name} {day}",
            metrics=ablation_metrics(ablation),
            files=files,
            tags={DAY: day, "ablation": name, "run_id": context.run_id},
        )
    ours, floor = ndcg_of(frame, "hybrid"), ndcg_of(frame, "popularity")
    check = passed(EVALUATION, "hybrid_beats_popularity", ours > floor, hybrid=ours, popularity=floor)
    return result(
        frame,
        manifest,
        checks=[check],
        report=dg.MetadataValue.path(str(folder / REPORT_FILE)),
        table=dg.MetadataValue.md(markdown_table(found)),
        **{
            f"ablation_{name}": dg.MetadataValue.md(f"{ablation_markdown(one)}\n\n{choice_line(one)}")
            for name, one in evaluated.ablations.items()
        },
    )


def ndcg_of(metrics: pl.DataFrame, recommender: str) -> float:
    """One recommender's nDCG in a frame of metrics (recommender, metric, value)."""
    return float(metrics.filter(recommender=recommender, metric=NDCG)["value"].item())


ASSETS = [evaluation]
