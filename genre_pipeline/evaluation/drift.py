"""How far features have moved between two days: statistics by their distribution, vectors by themselves.

Belongs here: the measures and their thresholds. Which tables are compared, and with which day, is for others to say.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genre_pipeline.contracts.columns import VECTOR

DRIFT_SCHEMA = pl.Schema(
    {
        "table": pl.String(),
        "feature": pl.String(),
        "measure": pl.String(),
        "value": pl.Float64(),
        "watch": pl.Float64(),
        "large": pl.Float64(),
        "level": pl.String(),
    }
)
PSI, MEAN_SHIFT, CHANGED, NORM_SHIFT = "psi", "mean_shift", "changed_share", "norm_shift"
THRESHOLDS = {PSI: (0.1, 0.25), MEAN_SHIFT: (0.25, 0.5), CHANGED: (0.1, 0.5), NORM_SHIFT: (0.05, 0.2)}
"""From the first on a measure is worth a look, from the second on it is large. Those of the population stability index
are the usual ones (Siddiqi 2006, Credit Risk Scorecards); a mean shift counts standard deviations; changed_share counts
vectors; norm_shift is relative to the mean length before."""
_BINS = 10
_LEAST_SHARE = 1e-4
"""An empty bin counts as so much, or its logarithm would be infinite."""
_COUNTS_DAYS = "days_since_"
_SAME_COSINE = 0.999
"""Two vectors of one thing that are at least so near are the same but for rounding."""


def statistics_drift(table: str, before: pl.DataFrame, now: pl.DataFrame) -> pl.DataFrame:
    """psi and mean_shift of every numeric column that both frames have, as `DRIFT_SCHEMA`.

    What counts days has no psi: a day later all of it is a day more, and many equal values cross a decile at once.
    """
    numeric = [name for name, kind in now.schema.items() if kind.is_numeric() and name in before.columns]
    rows = []
    for name in numeric:
        old, new = _values(before[name]), _values(now[name])
        rows += [] if name.startswith(_COUNTS_DAYS) else [_row(table, name, PSI, _psi(old, new))]
        rows.append(_row(table, name, MEAN_SHIFT, _mean_shift(old, new)))
    return pl.DataFrame(rows, schema=DRIFT_SCHEMA, orient="row")


def vector_drift(table: str, before: pl.DataFrame, now: pl.DataFrame, key: str) -> pl.DataFrame:
    """changed_share and norm_shift of the vectors of what both days know, as `DRIFT_SCHEMA`.

    Frames have `key` and vector List(Float32), null where there is none. Vectors of another width have all changed.
    """
    both = before.select(key, VECTOR).join(now.select(key, VECTOR), on=key, suffix="_now").sort(key).drop_nulls()
    changed, norm_shift = None, None
    if both.height:
        old, new = (_matrix(both[name]) for name in (VECTOR, f"{VECTOR}_now"))
        changed = 1.0 if old.shape != new.shape else float(np.mean(_cosines(old, new) < _SAME_COSINE))
        lengths = [float(np.linalg.norm(matrix, axis=1).mean()) for matrix in (old, new)]
        norm_shift = abs(lengths[1] - lengths[0]) / lengths[0] if lengths[0] else None
    rows = [_row(table, VECTOR, CHANGED, changed), _row(table, VECTOR, NORM_SHIFT, norm_shift)]
    return pl.DataFrame(rows, schema=DRIFT_SCHEMA, orient="row")


def together(drifts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """All of them as one frame; empty without any."""
    return pl.concat(drifts) if drifts else pl.DataFrame(schema=DRIFT_SCHEMA)


def _row(table: str, feature: str, measure: str, value: float | None) -> tuple[object, ...]:
    watch, large = THRESHOLDS[measure]
    size = 0.0 if value is None else abs(value)
    level = "unknown" if value is None else "large" if size >= large else "watch" if size >= watch else "stable"
    return table, feature, measure, value, watch, large, level


def _values(column: pl.Series) -> NDArray[np.float64]:
    """float64 [rows]; NaN where there is no value."""
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _psi(old: NDArray[np.float64], new: NDArray[np.float64]) -> float | None:
    """Population stability index over the deciles of `old`; what has no value is a bin of its own."""
    known = old[np.isfinite(old)]
    if not len(known) or not len(new):
        return None
    edges = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1]))
    expected, actual = _shares(old, edges), _shares(new, edges)
    return float(np.sum((actual - expected) * np.log(actual / expected)))


def _shares(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    places = np.where(np.isfinite(values), np.searchsorted(edges, values, side="left"), len(edges) + 1)
    counts = np.bincount(places, minlength=len(edges) + 2)
    return np.maximum(counts / len(values), _LEAST_SHARE)


def _mean_shift(old: NDArray[np.float64], new: NDArray[np.float64]) -> float | None:
    """In standard deviations of `old`."""
    known, later = old[np.isfinite(old)], new[np.isfinite(new)]
    if not len(known) or not len(later):
        return None
    difference, deviation = float(later.mean() - known.mean()), float(known.std())
    if deviation == 0:
        return 0.0 if difference == 0 else None
    return difference / deviation


def _matrix(column: pl.Series) -> NDArray[np.float32]:
    """float32 [rows, width]; vectors of several widths are cut to the shortest, for nothing else can be compared."""
    width = int(column.list.len().min())  # type: ignore[arg-type]
    return column.list.head(width).list.to_array(width).to_numpy().astype(np.float32, copy=False)


def _cosines(old: NDArray[np.float32], new: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(old, axis=1) * np.linalg.norm(new, axis=1)
    products = np.einsum("ij,ij->i", old, new)
    same_nothing = (np.linalg.norm(old, axis=1) == 0) & (np.linalg.norm(new, axis=1) == 0)
    return np.where(same_nothing, 1.0, products / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
