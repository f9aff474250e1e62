"""An item's numbers as a part of its fused vector: on a scale learned of training items, masked where missing."""

import hashlib

import dataframely as dy
import polars as pl

from genre_pipeline.contracts.columns import AVAILABLE, CONTENT_HASH, ITEM_ID
from genre_pipeline.contracts.tables import ItemVectors
from genre_pipeline.features.tabular import TabularConfig, number_vectors, tabular_model
from genre_pipeline.features.vector_cache import MODEL
from genre_pipeline.features.vector_column import to_column
from genre_pipeline.preprocessing.numbers import fit_scales, standardise

_DAY = 86_400_000_000
"""Microseconds."""


def tabular_vectors(
    items: pl.DataFrame, training: pl.Series, config: TabularConfig
) -> dy.DataFrame[ItemVectors] | None:
    """Vectors of a catalogue's numbers (schema `Items`), in its order; None where it has no column of them.

    `training`, bool [items], says which items the scale is learned of; a column without a number among these is left
    out. A configured column that is missing or holds no numbers raises `ContractError`.
    """
    numbers, learned_of = _numbers(items, config), _numbers(items.filter(training), config)
    columns = _columns(learned_of, config)
    if not columns:
        return None
    scales = fit_scales(learned_of, columns)
    vectors = to_column(number_vectors(*standardise(numbers, scales), config))
    model = pl.lit(tabular_model(scales.columns, config)).alias(MODEL)
    frame = pl.DataFrame([items[ITEM_ID], _hashes(numbers.select(columns)), vectors]).with_columns(model)
    return ItemVectors.validate(frame.select(ItemVectors.column_names()))


def _numbers(items: pl.DataFrame, config: TabularConfig) -> pl.DataFrame:
    """The wanted columns, dates as days."""
    named = config.columns or [name for name in items.columns if name not in (ITEM_ID, AVAILABLE)]
    wanted = items.select(name for name in named if name in items.columns)
    dates = pl.selectors.datetime() | pl.selectors.date()
    return wanted.with_columns(dates.cast(pl.Datetime("us")).dt.epoch("us") / _DAY)


def _columns(training: pl.DataFrame, config: TabularConfig) -> list[str]:
    """Those that can be learned: with `columns` all that are named, so that a wrong name is told."""
    if config.columns is not None:
        return list(config.columns)
    kinds = pl.selectors.numeric() | pl.selectors.boolean()
    varied = training.select(kinds).select(pl.all().n_unique() > 1)
    return [name for name in varied.columns if varied[name].item()]


def _hashes(numbers: pl.DataFrame) -> pl.Series:
    cells = numbers.select(pl.all().cast(pl.String).fill_null("")).select(pl.concat_str(pl.all(), separator=" "))
    digests = [hashlib.sha256(row.encode()).hexdigest() for row in cells.to_series()]
    return pl.Series(CONTENT_HASH, digests, dtype=pl.String)
