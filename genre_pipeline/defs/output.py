"""The last step: what passed goes into the tables that applications read, by flipping one pointer."""

import hashlib
from datetime import UTC, date, datetime

import dagster as dg
import polars as pl

from genre_pipeline.adapters.code_version import code_version
from genre_pipeline.adapters.table_records import DEFAULT_SURFACE, RunRecord
from genre_pipeline.contracts.columns import ITEM_ID, USER_ID
from genre_pipeline.contracts.errors import PublishRefusedError
from genre_pipeline.contracts.names import (
    CHAMPION,
    EVALUATION,
    INTERACTIONS,
    ITEMS,
    ONLINE_FEATURES,
    POPULAR_ITEMS,
    PUBLICATION,
    RECOMMENDATIONS,
    REJECTED_MEDIA,
    REJECTED_ROWS,
    SIMILAR_ITEMS,
    USERS,
)
from genre_pipeline.defs.evaluation import ndcg_of
from genre_pipeline.defs.materialise import Result, daily_asset, passed, result
from genre_pipeline.defs.shape import CONFIG, HAS_NETWORK
from genre_pipeline.offline.personal_lists import repeats_beyond
from genre_pipeline.project import Project

GROUP = "output"
_LISTS = (RECOMMENDATIONS, SIMILAR_ITEMS, POPULAR_ITEMS, ITEMS)
_REJECTED = [REJECTED_ROWS, *([REJECTED_MEDIA] if CONFIG.features.media else [])]


@daily_asset(
    group=GROUP,
    same_day=[*_LISTS, USERS, EVALUATION, ONLINE_FEATURES, *_REJECTED],
    all_days=[INTERACTIONS],
    checks=["is_live_or_newer"],
)
def publication(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """The published tables: recommendations, similar and popular items of the newest day. The pointer of each surface
    moves in one transaction after the rows are verified, and never back to an older day.
    """
    day = context.partition_key
    metrics = verified_metrics(project, day)
    lists, similar, popular, items = (project.partitions.read(table, day) for table in _LISTS)
    run = _record(project, day, metrics)
    expected = project.tables.stage(run, lists, similar, popular, items)
    surfaces = dict.fromkeys([DEFAULT_SURFACE, *project.config.serving.surfaces])
    shown = [project.tables.publish(run.run_id, expected=expected, surface=surface) for surface in surfaces]
    frame = pl.DataFrame({"run_id": [run.run_id], "day": [day], "users": [expected.users], "rows": [expected.rows]})
    is_live = all(publication.day.isoformat() >= day for publication in shown)
    check = passed(PUBLICATION, "is_live_or_newer", is_live, live=shown[0].run_id)
    return result(frame, checks=[check], moved=shown[0].moved, reason=shown[0].reason or "newest day")


def verified_metrics(project: Project, day: str) -> dict[str, float]:
    """nDCG by recommender of the day. Checks hold only within one run, so publishing looks again for itself.

    Raises `PublishRefusedError` where the hybrid does not beat popularity, a list holds what its user has had, or too
    many users are left without a list.
    """
    metrics = project.partitions.read(EVALUATION, day)
    ours, floor = ndcg_of(metrics, "hybrid"), ndcg_of(metrics, "popularity")
    if not ours > floor:
        raise PublishRefusedError(
            f"On {day} the hybrid's nDCG {ours:.4f} does not beat popularity's {floor:.4f}",
            remedy="Read the evaluation report of that day; what was published before stays.",
        )
    refuse_unfit_lists(project, day)
    rows = metrics.filter(metric="ndcg")
    return dict(zip(rows["recommender"].to_list(), rows["value"].to_list(), strict=True))


def refuse_unfit_lists(project: Project, day: str) -> None:
    """Raise `PublishRefusedError` unless the day's lists reach enough users and hold no more of what they have had than
    the rules allow, which is nothing unless `rules.repeats` says otherwise.
    """
    lists = project.partitions.read(RECOMMENDATIONS, day)
    past = project.partitions.scan(INTERACTIONS, until=day).select(USER_ID, ITEM_ID).collect()
    known = pl.concat([past[USER_ID], project.partitions.read(USERS, day)[USER_ID]]).n_unique()
    share, least = lists[USER_ID].n_unique() / max(known, 1), project.config.publishing.min_users_share
    seen = repeats_beyond(lists, past, project.config)
    if seen or share < least or lists.is_empty():
        raise PublishRefusedError(
            f"The lists of {day} reach {share:.1%} of {known:,} users ({least:.1%} are asked for) and hold {seen:,} "
            "items that their users have had",
            remedy="Materialise `recommendations` again; what was published before stays.",
        )


def _record(project: Project, day: str, metrics: dict[str, float]) -> RunRecord:
    from genre_pipeline.adapters.bulk_load import run_id_for

    made_of = {table: project.partitions.manifest(table, day).fingerprint for table in (*_LISTS, EVALUATION)}
    fingerprint = hashlib.sha256("".join(made_of.values()).encode()).hexdigest()
    decisions = dict(project.partitions.manifest(RECOMMENDATIONS, day).decisions)
    return RunRecord(
        run_id=run_id_for(date.fromisoformat(day), fingerprint),
        day=date.fromisoformat(day),
        created_at=datetime.now(UTC),
        model_version=_model_version(project, day),
        code_version=code_version(),
        decisions={**decisions, "manifests": made_of},
        metrics=metrics,
    )


def _model_version(project: Project, day: str) -> str:
    if not HAS_NETWORK:
        return "none"
    model_day = project.partitions.read(CHAMPION, day)["model_day"][0]
    sha256 = project.partitions.manifest(CHAMPION, day).decisions["sha256"]
    return f"sequence_model {model_day} {sha256[:12]}"


ASSETS = [publication]
