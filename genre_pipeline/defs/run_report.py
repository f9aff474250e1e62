"""The night's report: one page that says what changed, how good the lists are, what was rejected and how it ran."""

from datetime import date

import dagster as dg
import polars as pl

from genre_pipeline.contracts.columns import DAY, ITEM_ID, RECOMMENDER, USER_ID
from genre_pipeline.contracts.names import (
    EVALUATION,
    ITEM_STATISTICS,
    ITEMS,
    ONLINE_METRICS,
    RECOMMENDATIONS,
    REJECTED_MEDIA,
    REJECTED_ROWS,
    RUN_REPORT,
    USER_STATISTICS,
    USER_VECTORS,
)
from genre_pipeline.defs.evaluation import GROUP, NDCG
from genre_pipeline.defs.feedback import RANKS_FILE
from genre_pipeline.defs.materialise import Result, daily_asset, result
from genre_pipeline.defs.shape import CONFIG, MADE_VECTORS, VECTOR_TABLES
from genre_pipeline.evaluation.night import CHECKS_SCHEMA, TIMES_SCHEMA, NightFacts
from genre_pipeline.evaluation.report import render_page
from genre_pipeline.offline.feedback import experiment_on, shown_until
from genre_pipeline.offline.run_report import (
    REPORT_FILE,
    changes_between,
    drift_between,
    metrics_between,
    read_parts,
    rejected_by_reason,
    rows_of_tables,
)
from genre_pipeline.project import Project

_STATISTICS = (ITEM_STATISTICS, USER_STATISTICS)
_VECTORS = {**{VECTOR_TABLES[name]: ITEM_ID for name in MADE_VECTORS}, USER_VECTORS: USER_ID}
_REJECTED = {REJECTED_ROWS: "table", **({REJECTED_MEDIA: "modality"} if CONFIG.features.media else {})}


@daily_asset(
    group=GROUP,
    same_day=[ONLINE_METRICS, *_REJECTED],
    all_days=[ITEMS, EVALUATION, RECOMMENDATIONS, *_STATISTICS, *_VECTORS],
)
def run_report(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """The report of the night, one HTML file that needs no other: against the last day that was published before it,
    what became better or worse, whose lists changed, which features drifted, what was rejected, and what took how long.
    Its table is the drift of the features.
    """
    day = context.partition_key
    earlier = project.tables.day_published_before(date.fromisoformat(day))
    before = None if earlier is None else earlier.isoformat()
    drift = drift_between(project.partitions, day, before, _STATISTICS, _VECTORS)
    manifest = project.partitions.write(RUN_REPORT, day, drift, decisions={"compared_with": before})
    path = project.reports(day) / REPORT_FILE
    page = render_page(read_parts(path.parent, day), _facts(context, project, before, drift))
    path.write_text(page, encoding="utf-8")
    ndcg = project.partitions.read(EVALUATION, day).filter(metric=NDCG).drop_nulls("value")
    project.models.log_evaluation(
        EVALUATION,
        run_name=f"report {day}",
        metrics={f"{name}/{NDCG}": value for name, value in ndcg.select(RECOMMENDER, "value").rows()},
        files=[path],
        tags={DAY: day, "run_id": context.run.run_id},
    )
    return result(
        drift,
        manifest,
        report=dg.MetadataValue.path(str(path)),
        report_url=dg.MetadataValue.url(path.as_uri()),
        compared_with=before or "nothing: no earlier day was published",
        levels=dg.MetadataValue.json(dict(drift.group_by("level").len().sort("level").rows())),
    )


def _facts(context: dg.AssetExecutionContext, project: Project, before: str | None, drift: pl.DataFrame) -> NightFacts:
    day, store, config = context.partition_key, project.partitions, project.config
    made_by = _made_by(context)
    return NightFacts(
        day=day,
        before=before,
        metrics=metrics_between(store, day, before),
        changes=changes_between(store, day, before, k=config.evaluation.k),
        online=store.read(ONLINE_METRICS, day),
        ranks=pl.read_parquet(store.folder(ONLINE_METRICS, day) / RANKS_FILE),
        experiment=experiment_on(shown_until(project.tables, day, config), config),
        rows=rows_of_tables(store, day, before),
        checks=_checks(context, made_by),
        rejected=rejected_by_reason(store, day, _REJECTED),
        drift=drift,
        times=_times(context, made_by),
    )


def _made_by(context: dg.AssetExecutionContext) -> dict[str, str]:
    """Asset to the run that made its partition of the day last: a night may have been made in several."""
    instance, day, found = context.instance, context.partition_key, {}
    for key in instance.get_asset_keys():
        wanted = dg.AssetRecordsFilter(key, asset_partitions=[day])
        for record in instance.fetch_materializations(wanted, limit=1).records:
            found[key.to_user_string()] = record.run_id
    return {asset: run for asset, run in found.items() if asset != RUN_REPORT}


def _checks(context: dg.AssetExecutionContext, made_by: dict[str, str]) -> pl.DataFrame:
    rows = []
    for run in sorted(set(made_by.values())):
        logs = context.instance.all_logs(run, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        told = [log.dagster_event.asset_check_evaluation_data for log in logs if log.dagster_event is not None]
        rows += [
            (one.check_name, one.asset_key.to_user_string(), one.passed, one.severity == dg.AssetCheckSeverity.ERROR)
            for one in told
            if made_by.get(one.asset_key.to_user_string()) == run
        ]
    return pl.DataFrame(rows, schema=CHECKS_SCHEMA, orient="row").sort("asset", "check")


def _times(context: dg.AssetExecutionContext, made_by: dict[str, str]) -> pl.DataFrame:
    rows = [
        (one.step_key, one.end_time - one.start_time, "unknown" if one.status is None else one.status.value.lower())
        for run in sorted(set(made_by.values()))
        for one in context.instance.get_run_step_stats(run)
        if made_by.get(one.step_key) == run and one.start_time is not None and one.end_time is not None
    ]
    return pl.DataFrame(rows, schema=TIMES_SCHEMA, orient="row").sort("seconds", "asset", descending=[True, False])


ASSETS = [run_report]
