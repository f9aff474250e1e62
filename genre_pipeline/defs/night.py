"""What a night knows: everything up to its day, read from the partitions, in the form the core takes."""

from collections.abc import Callable

import dagster as dg

from genre_pipeline.contracts.names import (
    INTERACTIONS,
    ITEM_TEXT_VECTORS,
    ITEM_TEXT_WEIGHTED,
    ITEMS,
    REJECTED_ROWS,
    USERS,
)
from genre_pipeline.contracts.training_set import TrainingSet, build_training_set
from genre_pipeline.offline.dataset import Prepared
from genre_pipeline.preprocessing.cleaning import RowCounts
from genre_pipeline.preprocessing.dataset import Dataset
from genre_pipeline.project import Project, as_of

VECTOR_TABLES = {"text_llm": ITEM_TEXT_VECTORS, "text_weighted": ITEM_TEXT_WEIGHTED}
"""Where each technique's vectors lie."""


def load_night(project: Project, day: str) -> Prepared:
    """Clean tables and vectors as of `day`. Raises `MissingPartitionError`, `CorruptPartitionError`."""
    read = project.partitions.read
    techniques = project.config.features.for_recommenders
    return Prepared(
        data=Dataset(
            interactions=project.partitions.scan(INTERACTIONS, until=day).collect(),
            items=read(ITEMS, day),
            users=read(USERS, day),
            rejected=read(REJECTED_ROWS, f"{day}.{INTERACTIONS}"),
            counts=_counts(project, day),
            has_clock=True,
            name=project.config.source.name or "" if project.config.source else "",
        ),
        vectors={technique: read(VECTOR_TABLES[technique], day) for technique in techniques},
    )


def everything_known(project: Project, night: Prepared, day: str) -> TrainingSet:
    """All of the night's interactions and the whole catalogue: what tomorrow's lists are made from."""
    return build_training_set(
        night.data.interactions,
        night.data.items,
        as_of=as_of(day),
        event_weights=project.config.event_weights,
        item_vectors=night.vectors,
    )


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
