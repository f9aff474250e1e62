"""Clean inputs: the interactions of each day, the catalogue and the users as of each day, and what was rejected."""

from datetime import date

import dagster as dg
import polars as pl

from genre_pipeline.adapters.partitions import Manifest
from genre_pipeline.contracts.columns import ITEM_ID, PUBLISHED_AT
from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.names import INTERACTIONS, ITEMS, REJECTED_ROWS, USERS
from genre_pipeline.contracts.tables import Interactions, Items, RejectedRows, Users
from genre_pipeline.defs.materialise import Result, daily_asset, keeps_contract, passed, rejects_result, result
from genre_pipeline.defs.night import rejected_of
from genre_pipeline.preprocessing.cleaning import Cleaned, RowCounts, check_rejected_share
from genre_pipeline.preprocessing.interactions import days_of_interactions, with_events
from genre_pipeline.preprocessing.items import catalogue_of, clean_items
from genre_pipeline.preprocessing.timestamps import is_order
from genre_pipeline.preprocessing.users import clean_users
from genre_pipeline.project import Project, as_of

GROUP = "preprocessing"


@daily_asset(
    group=GROUP,
    checks=["keeps_its_contract", "lose_no_row"],
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def interactions(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """What users did on one day: the source's rows and the events that applications posted, cleaned, each exact event
    once. Rows that break a rule are kept aside with the rule's name.
    """
    days = [date.fromisoformat(key) for key in context.partition_keys]
    raw = project.read_source().interactions
    if is_order(raw.select("timestamp").collect().to_series()):
        raise ConfigError("The source knows an order only, and days need a clock", remedy="Use `genre batch` instead.")
    made, counts = [], []
    for day, of_source in days_of_interactions(raw, days, project.config.preprocessing):
        cleaned = with_events(of_source, project.tables.events_of(day))
        manifest = _keep(project, INTERACTIONS, day.isoformat(), cleaned)
        # A run over many days has one result; what it tells of each day goes to that day.
        told = {"dagster/row_count": cleaned.kept.height, "manifest": manifest.fingerprint, **vars(cleaned.counts)}
        context.add_asset_metadata(told, partition_key=day.isoformat())
        made.append(cleaned.kept)
        counts.append(cleaned.counts)
    frame = pl.concat(made)
    return result(frame, manifest if len(days) == 1 else None, checks=_interaction_checks(frame, counts))


@daily_asset(
    group=GROUP,
    all_days=[INTERACTIONS],
    checks=["keeps_its_contract"],
)
def items(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """The catalogue as of one day: text, categories, media and availability of every item that was published by then,
    or that somebody had already interacted with, also where the source has no row of it.
    """
    day = context.partition_key
    taken = project.partitions.scan(INTERACTIONS, until=day).select(ITEM_ID).unique().sort(ITEM_ID).collect()
    raw = project.read_source().items
    cleaned = clean_items(catalogue_of(taken) if raw is None else raw.collect())
    published = pl.col(PUBLISHED_AT).is_null() | (pl.col(PUBLISHED_AT) < as_of(day))
    listed = cleaned.kept.filter(published | pl.col(ITEM_ID).is_in(taken[ITEM_ID].implode()))
    unlisted = clean_items(catalogue_of(taken.join(listed, on=ITEM_ID, how="anti"))).kept
    kept = pl.concat([listed, unlisted], how="diagonal")
    manifest = _keep(project, ITEMS, day, Cleaned(kept, cleaned.rejected, cleaned.counts))
    return result(kept, manifest, checks=[keeps_contract(ITEMS, kept, Items)], only_in_interactions=unlisted.height)


@daily_asset(
    group=GROUP,
    checks=["keeps_its_contract"],
)
def users(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """Known users as of one day, with whatever attributes the source has. Empty where it has none."""
    raw = project.read_source().users
    frame = pl.DataFrame(schema={"user_id": pl.String}) if raw is None else raw.collect()
    cleaned = clean_users(frame)
    manifest = _keep(project, USERS, context.partition_key, cleaned)
    return result(cleaned.kept, manifest, checks=[keeps_contract(USERS, cleaned.kept, Users)])


@daily_asset(
    group=GROUP,
    same_day=[INTERACTIONS, ITEMS, USERS],
    checks=["keeps_its_contract"],
)
def rejected_rows(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """Rows of the day that broke a rule of their table's contract, each with the rule's name: nothing is lost."""
    day = context.partition_key
    frame = pl.concat([project.partitions.read(rejected_of(table), day) for table in (INTERACTIONS, ITEMS, USERS)])
    manifest = project.partitions.write(REJECTED_ROWS, day, frame)
    return rejects_result(REJECTED_ROWS, frame, manifest, RejectedRows, of="table", unit="rows")


def _keep(project: Project, table: str, day: str, cleaned: Cleaned) -> Manifest:
    """Quarantine first, so that a run that stops over its rejected share has still kept the rows and the reasons."""
    dated = cleaned.rejected.with_columns(pl.col("day").fill_null(date.fromisoformat(day)))
    project.partitions.write(rejected_of(table), day, dated)
    check_rejected_share(table, cleaned, project.config.preprocessing)
    return project.partitions.write(table, day, cleaned.kept, decisions=vars(cleaned.counts))


def _interaction_checks(frame: pl.DataFrame, counts: list[RowCounts]) -> list[dg.AssetCheckResult]:
    read = sum(one.read for one in counts)
    accounted_for = sum(one.kept + one.rejected + one.duplicates for one in counts)
    return [
        keeps_contract(INTERACTIONS, frame, Interactions),
        passed(INTERACTIONS, "lose_no_row", read == accounted_for, read=read, accounted_for=accounted_for),
    ]


ASSETS = [interactions, items, users, rejected_rows]
