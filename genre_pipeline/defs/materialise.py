"""What every asset has in common: how it is declared, and what it tells of what it made."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import dataframely as dy
import polars as pl

from genre_pipeline.adapters.partitions import Manifest
from genre_pipeline.contracts.columns import USER_ID
from genre_pipeline.defs.partitions import ALL_DAYS, DAILY, DAY_BEFORE, EARLIER_DAYS, SAME_DAY

if TYPE_CHECKING:
    Result = dg.MaterializeResult[Any]
else:
    # Dagster reads the annotation at run time, and knows the bare class only.
    Result = dg.MaterializeResult

OWNERS = ("team:data",)
_SAMPLE_ROWS = 5
_CELL = 60
_HIDDEN = "·····"
_PERSONAL = {USER_ID, "raw"}
"""Columns that say who somebody is. Dagster keeps metadata for ever, out of reach of `genre forget`."""


def daily_asset(
    *,
    group: str,
    same_day: Sequence[str] = (),
    all_days: Sequence[str] = (),
    earlier_days: Sequence[str] = (),
    day_before: Sequence[str] = (),
    checks: Sequence[str] = (),
    **more: Any,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """An asset with a partition a day; its docstring is what the UI shows.

    What it reads, by name: of its own day, of every day up to it, of every day before it, of the day before it.
    `checks` are claims, `<asset>_<claim>`; they run with the asset, and a failed one stops what comes after it.
    """
    read = {SAME_DAY: same_day, ALL_DAYS: all_days, EARLIER_DAYS: earlier_days, DAY_BEFORE: day_before}
    deps = [dg.AssetDep(name, partition_mapping=days) for days, names in read.items() for name in names]

    def declare(function: Callable[..., Any]) -> dg.AssetsDefinition:
        name = function.__name__
        specs = [
            dg.AssetCheckSpec(f"{name}_{claim}", asset=name, blocking=True, partitions_def=DAILY) for claim in checks
        ]
        declared: dg.AssetsDefinition = dg.asset(
            group_name=group,
            partitions_def=DAILY,
            deps=deps,
            check_specs=specs,
            owners=list(OWNERS),
            **more,
        )(function)
        return declared

    return declare


def result(
    frame: pl.DataFrame,
    manifest: Manifest | None = None,
    *,
    checks: Sequence[dg.AssetCheckResult] = (),
    **metadata: Any,
) -> Result:
    """Row count, columns, a sample of rows and the manifest's fingerprint, beside what the asset itself tells."""
    told: dict[str, Any] = {
        "dagster/row_count": frame.height,
        "dagster/column_schema": _columns(frame.schema),
        "sample": dg.MetadataValue.md(sample_table(frame)),
    }
    if manifest is not None:
        told["manifest"] = manifest.fingerprint
        told["decisions"] = dg.MetadataValue.json(json.loads(json.dumps(dict(manifest.decisions))))
    version = None if manifest is None else dg.DataVersion(manifest.fingerprint)
    return dg.MaterializeResult(metadata={**told, **metadata}, check_results=list(checks), data_version=version)


def picture(uri: str, caption: str = "") -> dg.MarkdownMetadataValue:
    """A picture in the metadata itself: a data URI, with words under it."""
    return dg.MetadataValue.md(f"![{caption}]({uri})\n\n{caption}")


def passed(asset: str, claim: str, is_true: bool, **facts: Any) -> dg.AssetCheckResult:
    """One claim, and the facts that it was judged by."""
    return dg.AssetCheckResult(passed=bool(is_true), check_name=f"{asset}_{claim}", asset_key=asset, metadata=facts)


def keeps_contract(asset: str, frame: pl.DataFrame, schema: type[dy.Schema]) -> dg.AssetCheckResult:
    """Every row keeps every rule of the table's schema; the failures are counted by rule."""
    _, failure = schema.filter(frame.select(schema.column_names()))
    counts: Mapping[str, int] = failure.counts()
    return passed(asset, "keeps_its_contract", not counts, rows=frame.height, broken_rules=json.dumps(dict(counts)))


def rejects_result(
    asset: str, frame: pl.DataFrame, manifest: Manifest, schema: type[dy.Schema], *, of: str, unit: str, **metadata: Any
) -> Result:
    """What a table of rejects tells: how many of each (a value of column `of`) broke which rule, counted as `unit`."""
    by_rule = frame.group_by(of, "rule").len(unit).sort(of, "rule")
    checks = [keeps_contract(asset, frame, schema)]
    return result(frame, manifest, checks=checks, by_rule=dg.MetadataValue.json(by_rule.to_dicts()), **metadata)


def sample_table(frame: pl.DataFrame, rows: int = _SAMPLE_ROWS) -> str:
    """The first rows as a Markdown table; long cells are cut, and users stay nameless."""
    head = frame.head(rows)
    lines = [f"| {' | '.join(head.columns)} |", f"|{' --- |' * len(head.columns)}"]
    lines += [f"| {' | '.join(_cell(*cell) for cell in row.items())} |" for row in head.iter_rows(named=True)]
    return "\n".join(lines)


def _cell(column: str, value: object) -> str:
    if column in _PERSONAL:
        return _HIDDEN
    text = str(value).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
    return text if len(text) <= _CELL else f"{text[:_CELL]}…"


def _columns(schema: pl.Schema) -> dg.TableSchema:
    return dg.TableSchema([dg.TableColumn(name, str(dtype)) for name, dtype in schema.items()])
