"""What a night knows: everything up to its day, read from the partitions, in the form the core takes."""

from collections.abc import Callable

import dagster as dg
import polars as pl

from genre_pipeline.contracts.columns import USER_ID
from genre_pipeline.contracts.names import (
    INTERACTIONS,
    ITEMS,
    REJECTED_ROWS,
    USERS,
)
from genre_pipeline.contracts.training_set import TrainingSet, build_training_set
from genre_pipeline.defs.shape import LEARNED_FROM, VECTOR_TABLES
from genre_pipeline.features.extraction import FUSED
from genre_pipeline.offline.dataset import Prepared
from genre_pipeline.offline.item_vectors import fusion_views
from genre_pipeline.preprocessing.cleaning import RowCounts
from genre_pipeline.preprocessing.dataset import Dataset
from genre_pipeline.project import Project, as_of


def load_night(project: Project, day: str) -> Prepared:
    """Clean tables and vectors as of `day`. Raises `MissingPartitionError`, `CorruptPartitionError`."""
    read, config = project.partitions.read, project.config
    items = read(ITEMS, day)
    is_fused = FUSED in config.features.for_recommenders
    return Prepared(
        data=Dataset(
            interactions=project.partitions.scan(INTERACTIONS, until=day).collect(),
            items=items,
            users=read(USERS, day),
            rejected=read(rejected_of(INTERACTIONS), day),
            counts=_counts(project, day),
            has_clock=True,
            name=config.source.name or "" if config.source else "",
        ),
        vectors={name: read(VECTOR_TABLES[name], day) for name in LEARNED_FROM},
        views=fusion_views(items, root=project.media_root, config=config, cache=project.vectors) if is_fused else {},
    )


def everything_known(project: Project, night: Prepared, day: str) -> TrainingSet:
    """All of the night's interactions and the whole catalogue: what tomorrow's lists are made from."""
    return build_training_set(
        night.data.interactions,
        night.data.items,
        as_of=as_of(day),
        event_weights=project.config.event_weights,
        valued_events=project.config.valued_events,
        item_vectors={name: night.vectors[name] for name in project.config.features.for_recommenders},
    )


def known_users(night: Prepared) -> pl.Series:
    """Everybody who is listed or has done something: who must get a list. Sorted, String."""
    listed = [] if night.data.users is None else [night.data.users[USER_ID]]
    return pl.concat([night.data.interactions[USER_ID], *listed]).unique().sort()


def rejected_of(table: str) -> str:
    """Where the rejected rows of one table wait for `rejected_rows` to gather them."""
    return f"{REJECTED_ROWS}.{table}"


def sayer(context: dg.AssetExecutionContext) -> Callable[[str], None]:
    """Progress in the run's own log."""
    return context.log.info


def _counts(project: Project, day: str) -> dict[str, RowCounts]:
    keys = [key for key in project.partitions.keys(INTERACTIONS) if key <= day]
    of_days = [RowCounts(**project.partitions.manifest(INTERACTIONS, key).decisions) for key in keys]
    total = {
        name: sum(getattr(counts, name) for counts in of_days) for name in ("read", "kept", "rejected", "duplicates")
    }
    of_tables = {table: RowCounts(**project.partitions.manifest(table, day).decisions) for table in (ITEMS, USERS)}
    return {INTERACTIONS: RowCounts(**total), **of_tables}
