"""Cleaning in general: split a table into kept rows, rejected rows with reasons, and dropped duplicates.

Belongs here: what is the same for every table, the bookkeeping first of all. Kept out: what a table's cells mean
(`interactions`, `items`, `users`).

A row is rejected once, under the first rule it breaks: rules about reading a cell, then the contract's, then the rest.
Duplicates are counted among rows that keep every rule; of rejected rows every one stays, as evidence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dataframely as dy
import polars as pl
from pydantic import Field

from genre_pipeline.contracts.errors import ContractError
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.tables import RejectedRows
from genre_pipeline.preprocessing.audio import AudioConfig
from genre_pipeline.preprocessing.augmentation import AugmentationConfig

ROW_NUMBER = "row_number"
_RULE = "rule"
_SHOWN_RULES = 3


class PreprocessingConfig(Settings):
    """How raw tables become clean ones."""

    max_rejected_share: float = Field(default=0.05, ge=0, le=1)
    """The largest share of a table's rows that may be rejected; above it the run stops. 0 tolerates none, 1 any."""
    default_event: str = Field(default="interaction", min_length=1)
    """The event of an interaction that names none."""
    audio: AudioConfig = AudioConfig()
    """What is done to a sound before an encoder hears it."""
    augmentation: AugmentationConfig = AugmentationConfig()
    """What training may change at random."""


@dataclass(frozen=True)
class RowCounts:
    """Where the rows of one table went. They add up, or the object cannot be made."""

    read: int
    kept: int
    rejected: int
    duplicates: int
    """Exact duplicates of a kept row, dropped."""

    def __post_init__(self) -> None:
        if self.read != self.kept + self.rejected + self.duplicates:
            raise ContractError(
                f"Row counts do not add up: read {self.read}, kept {self.kept}, rejected {self.rejected}, "
                f"duplicates {self.duplicates}",
                remedy="This is a fault of the cleaning itself: report it with the data that shows it.",
            )


@dataclass(frozen=True)
class Cleaned:
    """One table, cleaned: `kept` in the table's own schema, `rejected` in `RejectedRows`."""

    kept: pl.DataFrame
    rejected: pl.DataFrame
    counts: RowCounts


@dataclass(frozen=True)
class Split:
    """Rows judged: `kept` has `row_number` and the contract's columns; `broken` has `row_number` and `rule`."""

    kept: pl.DataFrame
    broken: pl.DataFrame


def split_rows(
    raw: pl.DataFrame,
    coerced: pl.DataFrame,
    row_schema: type[dy.Schema],
    *,
    readable: Mapping[str, str],
    claims: Mapping[str, pl.Expr] | None = None,
) -> Split:
    """Judge each row of `coerced`, which was made from `raw` row by row.

    `readable` maps a rule's name to the column whose every cell must be readable: null only where the raw cell is null
    or blank. `claims` maps further rules to Boolean expressions over the coerced columns. `row_schema` is the table's
    contract with `row_number` beside its columns.
    """
    rows = coerced.with_row_index(ROW_NUMBER)
    masks = {rule: unread(raw, coerced, column) for rule, column in readable.items() if column in raw.columns}
    good, failure = row_schema.filter(rows)
    broken = pl.concat(
        [
            *(_broken(rule, mask) for rule, mask in masks.items()),
            _first_rule(failure),
            *(_broken(rule, coerced.select(~claim).to_series()) for rule, claim in (claims or {}).items()),
        ]
    )
    broken = broken.unique(ROW_NUMBER, keep="first", maintain_order=True).sort(ROW_NUMBER)
    kept = good.join(broken, on=ROW_NUMBER, how="anti", maintain_order="left") if broken.height else good
    return Split(kept, broken)


def unread(raw: pl.DataFrame, coerced: pl.DataFrame, column: str) -> pl.Series:
    """Boolean: cells of `column` that say something in `raw` and are null in `coerced`."""
    return coerced[column].is_null() & ~is_blank(raw[column])


def drop_duplicates(kept: pl.DataFrame) -> pl.DataFrame:
    """Drop rows equal to an earlier one in every column but `row_number`; the first stays, the order too."""
    return kept.unique(pl.exclude(ROW_NUMBER), keep="first", maintain_order=True)


def is_blank(raw: pl.Series) -> pl.Series:
    """Boolean: null, or text without a visible character."""
    is_null = raw.is_null()
    return is_null | (raw.str.strip_chars() == "").fill_null(False) if raw.dtype == pl.String else is_null


def keep_last(split: Split, key: str) -> Split:
    """Leave one row an id: equal repeats are dropped, different ones are broken under `<key>_superseded`."""
    distinct = drop_duplicates(split.kept.reverse()).reverse()
    is_last = pl.col(key).is_last_distinct()
    superseded = distinct.filter(~is_last).select(ROW_NUMBER, pl.lit(f"{key}_superseded").alias(_RULE))
    return Split(distinct.filter(is_last), pl.concat([split.broken, superseded]).sort(ROW_NUMBER))


def finish(table: str, raw: pl.DataFrame, kept: pl.DataFrame, broken: pl.DataFrame, day: pl.Series) -> Cleaned:
    """Put the books in order: what is neither kept nor broken was a duplicate. `day` dates each raw row, or is null."""
    rejected = _rejected_rows(table, raw, broken, day)
    counts = RowCounts(raw.height, kept.height, rejected.height, raw.height - kept.height - rejected.height)
    return Cleaned(kept.drop(ROW_NUMBER), rejected, counts)


def check_rejected_share(table: str, cleaned: Cleaned, config: PreprocessingConfig) -> None:
    """Raise ContractError where a larger share of the rows was rejected than `config` tolerates."""
    counts = cleaned.counts
    if counts.read == 0 or counts.rejected / counts.read <= config.max_rejected_share:
        return
    by_rule = cleaned.rejected[_RULE].value_counts().sort(["count", _RULE], descending=[True, False])
    top = [f"{rule}: {count:,} rows" for rule, count in by_rule.head(_SHOWN_RULES).iter_rows()]
    raise ContractError(
        f"{counts.rejected:,} of {counts.read:,} rows of {table} break a rule "
        f"({counts.rejected / counts.read:.1%}; {config.max_rejected_share:.1%} are tolerated)",
        remedy=f"Mend the source, for example {cleaned.rejected['raw'].item(0)}; or raise "
        "`preprocessing.max_rejected_share` if these rows may be left out.",
        culprits=top,
    )


def require_columns(table: str, columns: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise ContractError where a required column is missing."""
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise ContractError(
            f"{table} lacks the required column {' and '.join(map(repr, missing))}; "
            f"it has {', '.join(columns) or 'no column'}",
            remedy="Rename the column in the source, or map its name under `source.columns`.",
        )


def _broken(rule: str, mask: pl.Series) -> pl.DataFrame:
    rows = mask.arg_true().cast(pl.UInt32).alias(ROW_NUMBER)
    return rows.to_frame().with_columns(pl.lit(rule).alias(_RULE))


def _first_rule(failure: dy.FailureInfo) -> pl.DataFrame:
    """row_number and the name of the first rule of the contract that each failed row breaks."""
    details, rules = failure.details(), list(failure.counts())
    first = (
        pl.coalesce(pl.when(pl.col(rule) == "invalid").then(pl.lit(rule)) for rule in rules) if rules else pl.lit("")
    )
    return details.select(ROW_NUMBER, first.cast(pl.String).alias(_RULE))


def _rejected_rows(table: str, raw: pl.DataFrame, broken: pl.DataFrame, day: pl.Series) -> pl.DataFrame:
    """Rows in `RejectedRows`; JSON knows no bytes, which are written as base64."""
    picked = raw[broken[ROW_NUMBER]].with_columns(pl.col(pl.Binary).bin.encode("base64"))
    rejected = picked.select(
        pl.lit(table).alias("table"),
        broken[_RULE],
        pl.struct(pl.all()).struct.json_encode().alias("raw"),
        day[broken[ROW_NUMBER]].alias("day"),
    )
    return RejectedRows.validate(rejected, cast=True)
