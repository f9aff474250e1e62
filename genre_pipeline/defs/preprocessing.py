"""Clean inputs: the interactions of each day, the catalogue and the users as of each day, and what was rejected."""

from datetime import date

import dagster as dg
import polars as pl

from genre_pipeline.adapters.partitions import Manifest
from genre_pipeline.contracts.columns import ITEM_ID, PUBLISHED_AT
from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.names import INTERACTIONS, ITEMS, REJECTED_ROWS, USERS
from genre_pipeline.contracts.tables import Interactions, Items, RejectedRows, Users
from genre_pipeline.defs.materialise import Result, daily_asset, keeps_contract, passed, result
from genre_pipeline.preprocessing.cleaning import Cleaned, check_rejected_share
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
    counted = [0, 0]
    kept = []
    for day, of_source in days_of_interactions(raw, days, project.config.preprocessing):
        cleaned = with_events(of_source, project.tables.events_of(day))
        _keep(project, INTERACTIONS, day.isoformat(), cleaned)
        kept.append(cleaned.kept)
        counted[0] += cleaned.counts.read
        counted[1] += cleaned.counts.kept + cleaned.counts.rejected + cleaned.counts.duplicates
    frame = pl.concat(kept)
    checks = [
        keeps_contract(INTERACTIONS, frame, Interactions),
        passed(INTERACTIONS, "lose_no_row", counted[0] == counted[1], read=counted[0], accounted_for=counted[1]),
    ]
    manifest = project.partitions.manifest(INTERACTIONS, days[-1].isoformat())
    return result(frame, manifest, checks=checks, days=len(days))


@daily_asset(
    group=GROUP,
    all_days=[INTERACTIONS],
    checks=["keeps_its_contract"],
)
def items(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """The catalogue as of one day: text, categories, media and availability of every item that was published by then,
    or that somebody had already interacted with.
    """
    day = context.partition_key
    taken = project.partitions.scan(INTERACTIONS, until=day).select(ITEM_ID).unique().collect()
    raw = project.read_source().items
    cleaned = clean_items(catalogue_of(taken) if raw is None else raw.collect())
    published = pl.col(PUBLISHED_AT).is_null() | (pl.col(PUBLISHED_AT) < as_of(day))
    kept = cleaned.kept.filter(published | pl.col(ITEM_ID).is_in(taken[ITEM_ID].implode()))
    manifest = _keep(project, ITEMS, day, Cleaned(kept, cleaned.rejected, cleaned.counts))
    return result(kept, manifest, checks=[keeps_contract(ITEMS, kept, Items)])


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
    pieces = [project.partitions.read(REJECTED_ROWS, f"{day}.{table}") for table in (INTERACTIONS, ITEMS, USERS)]
    frame = pl.concat(pieces)
    by_rule = frame.group_by("table", "rule").len("rows").sort("table", "rule")
    return result(
        frame,
        checks=[keeps_contract(REJECTED_ROWS, frame, RejectedRows)],
        by_rule=dg.MetadataValue.json(by_rule.to_dicts()),
    )


def _keep(project: Project, table: str, day: str, cleaned: Cleaned) -> Manifest:
    """Quarantine first, so that a run that stops over its rejected share has still kept the rows and the reasons."""
    project.partitions.write(REJECTED_ROWS, f"{day}.{table}", cleaned.rejected)
    check_rejected_share(table, cleaned, project.config.preprocessing)
    return project.partitions.write(table, day, cleaned.kept, decisions=vars(cleaned.counts))


ASSETS = [interactions, items, users, rejected_rows]
