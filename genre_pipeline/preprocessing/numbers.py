"""Tabular numbers of items and users: one scale for all, with statistics of the training rows alone.

Belongs here: scaling. Kept out: reading a cell as a number (`cells`). What comes after training must not be seen in a
mean, so fitting and applying are two calls, and the statistics travel as data.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from genre_pipeline.contracts.errors import ContractError


@dataclass(frozen=True)
class NumberScales:
    """Fitted statistics, parallel tuples; a column without any finite value has mean 0 and deviation 1."""

    columns: tuple[str, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]


def fit_scales(training_rows: pl.DataFrame, columns: Sequence[str]) -> NumberScales:
    """Mean and deviation of each numeric or Boolean column over its finite values. Nulls, NaN and inf do not count.

    A column that never varies gets deviation 1, and so becomes 0 throughout.
    """
    finite = _finite(training_rows, columns)
    row = finite.select(
        *(pl.col(name).mean().fill_null(0.0).alias(f"mean {name}") for name in columns),
        *(pl.col(name).std(ddof=0).fill_null(0.0).alias(f"deviation {name}") for name in columns),
    )
    means = tuple(float(row[f"mean {name}"].item()) for name in columns)
    deviations = tuple(float(row[f"deviation {name}"].item()) for name in columns)
    # Equal values have a tiny deviation left by rounding: dividing by it would make noise of it.
    tiny = [1e-12 * max(1.0, abs(mean)) for mean in means]
    safe = tuple(value if value > least else 1.0 for value, least in zip(deviations, tiny, strict=True))
    return NumberScales(tuple(columns), means, safe)


def standardise(rows: pl.DataFrame, scales: NumberScales) -> tuple[np.ndarray, np.ndarray]:
    """float32 [rows, columns], (value - mean) / deviation and 0 where missing, and bool [rows, columns]: is there."""
    values = _finite(rows, scales.columns).to_numpy().reshape(rows.height, len(scales.columns))
    scaled = (values - np.asarray(scales.means)) / np.asarray(scales.deviations)
    limits = np.finfo(np.float32)
    present = ~np.isnan(scaled)
    return np.clip(np.where(present, scaled, 0.0), limits.min, limits.max).astype(np.float32), present


def _finite(rows: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    wrong = [name for name in columns if name not in rows.columns or not _is_number(rows.schema[name])]
    if wrong:
        raise ContractError(
            "A column to be scaled is missing or holds no numbers", remedy="Name numeric columns.", culprits=wrong
        )
    cells = rows.select(pl.col(name).cast(pl.Float64) for name in columns)
    return cells.select(pl.when(pl.all().is_finite()).then(pl.all()))


def _is_number(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype == pl.Boolean
