"""What the partitions know of a night and the one before it, in the form that the run report takes."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from genre_pipeline.adapters.partitions import PartitionStore
from genre_pipeline.contracts.columns import ITEM_ID, TITLE
from genre_pipeline.contracts.errors import MissingPartitionError
from genre_pipeline.contracts.names import EVALUATION, ITEMS, RECOMMENDATIONS
from genre_pipeline.evaluation.drift import statistics_drift, together, vector_drift
from genre_pipeline.evaluation.list_changes import ListChanges, list_changes
from genre_pipeline.evaluation.night import METRIC_CHANGES_SCHEMA, REASONS_SCHEMA, ROWS_SCHEMA, metric_changes
from genre_pipeline.evaluation.report import ReportParts, evaluation_parts
from genre_pipeline.offline.evaluate import Evaluation

REPORT_FILE, PARTS_FILE = "report.html", "evaluation.json"
_EXAMPLES = 5


def write_parts(found: Evaluation, folder: Path) -> None:
    """Keep what the page shows of an evaluation, for the night's report to show it again."""
    parts = evaluation_parts(found.result, found.ablations)
    (folder / PARTS_FILE).write_text(json.dumps(vars(parts), ensure_ascii=False), encoding="utf-8")


def read_parts(folder: Path, day: str) -> ReportParts:
    """The inverse of `write_parts`. Raises `MissingPartitionError` where there is nothing to read."""
    file = folder / PARTS_FILE
    if not file.is_file():
        raise MissingPartitionError(
            f"The report of {day} has no evaluation at {str(file)!r}",
            remedy="Materialise both: `genre run --select evaluation,run_report --date …`.",
        )
    return ReportParts(**json.loads(file.read_text(encoding="utf-8")))


def drift_between(
    store: PartitionStore, day: str, before: str | None, statistics: Sequence[str], vectors: Mapping[str, str]
) -> pl.DataFrame:
    """Drift of tables of statistics, and of tables of vectors (table to its key), where both days have them."""
    if before is None:
        return together([])
    told = [
        statistics_drift(table, store.read(table, before), store.read(table, day))
        for table in statistics
        if store.has(table, before)
    ]
    moved = [
        vector_drift(table, store.read(table, before), store.read(table, day), key)
        for table, key in vectors.items()
        if store.has(table, before)
    ]
    return together([*told, *moved])


def metrics_between(store: PartitionStore, day: str, before: str | None) -> pl.DataFrame:
    """`metric_changes` of two nights' evaluations; empty without an earlier one."""
    if before is None or not store.has(EVALUATION, before):
        return pl.DataFrame(schema=METRIC_CHANGES_SCHEMA)
    return metric_changes(store.read(EVALUATION, day), store.read(EVALUATION, before))


def changes_between(store: PartitionStore, day: str, before: str | None, *, k: int) -> ListChanges | None:
    """How the first `k` of all lists changed; None without earlier lists."""
    if before is None or not store.has(RECOMMENDATIONS, before):
        return None
    known = [key for key in (day, before) if store.has(ITEMS, key)]
    titles = pl.concat([store.read(ITEMS, key).select(ITEM_ID, TITLE) for key in known])
    named = titles.unique(ITEM_ID, keep="first", maintain_order=True)
    old, new = (store.read(RECOMMENDATIONS, key) for key in (before, day))
    return list_changes(old, new, named, k=k, count=_EXAMPLES)


def rows_of_tables(store: PartitionStore, day: str, before: str | None) -> pl.DataFrame:
    """table, rows, before: of every table that the day has, as the manifests know."""
    tables = sorted(path.name for path in store.root.iterdir() if store.has(path.name, day))
    rows = [(table, store.manifest(table, day).rows, _rows(store, table, before)) for table in tables]
    return pl.DataFrame(rows, schema=ROWS_SCHEMA, orient="row")


def rejected_by_reason(store: PartitionStore, day: str, tables: Mapping[str, str]) -> pl.DataFrame:
    """table, reason, count: of tables of rejects, each with the column that says of what a row was rejected."""
    counted = [
        store.read(table, day).group_by(of, "rule").len().sort(of, "rule").rows() for table, of in tables.items()
    ]
    return pl.DataFrame([row for rows in counted for row in rows], schema=REASONS_SCHEMA, orient="row")


def _rows(store: PartitionStore, table: str, day: str | None) -> int | None:
    return store.manifest(table, day).rows if day is not None and store.has(table, day) else None
