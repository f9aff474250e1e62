"""Geometry of the report's plots, in per cent of a strip's width.

Belongs here: where a mark stands. Strips are drawn as SVG with relative coordinates, so that one page fits a phone
and a desk without a script and without stretched text.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_MARGIN = 6.0


@dataclass(frozen=True)
class Tick:
    """A grid line: its place in per cent, and its label."""

    at: float
    label: str


@dataclass(frozen=True)
class Scale:
    """A linear scale from values to per cent of the width, with a margin at both ends for marks and labels."""

    low: float
    high: float
    ticks: tuple[Tick, ...]

    def at(self, value: float) -> float:
        """Per cent of the width, two decimals."""
        return _place(value, self.low, self.high)


@dataclass(frozen=True)
class Whisker:
    """A dot with its interval, in per cent; `low` and `high` are None where there is no interval."""

    at: float
    low: float | None
    high: float | None


def scale_over(values: Iterable[float | None], *, with_zero: bool = True, ticks: int = 4) -> Scale:
    """A scale that holds all values (missing ones aside), zero too if asked, and ends on round numbers."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    low, high = min(known, default=0.0), max(known, default=1.0)
    if with_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        high = low + 1.0
    step = _round_step((high - low) / ticks)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    low, high = first * step, last * step
    marks = [index * step for index in range(first, last + 1)]
    return Scale(low, high, tuple(Tick(_place(mark, low, high), f"{mark:.{digits}f}") for mark in marks))


def whisker(scale: Scale, value: float | None, low: float | None, high: float | None) -> Whisker | None:
    """Where a value and its interval stand; None without a value."""
    if value is None:
        return None
    return Whisker(scale.at(value), None if low is None else scale.at(low), None if high is None else scale.at(high))


def bars(values: Sequence[float | None]) -> list[float]:
    """Lengths in per cent of the longest; 0 for a missing value."""
    longest = max((value for value in values if value is not None), default=0.0) or 1.0
    return [round(100 * (value or 0.0) / longest, 2) for value in values]


def _place(value: float, low: float, high: float) -> float:
    return round(_MARGIN + (100 - 2 * _MARGIN) * (value - low) / (high - low), 2)


def _round_step(rough: float) -> float:
    magnitude = 10.0 ** math.floor(math.log10(rough))
    return next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough * (1 - 1e-9))
