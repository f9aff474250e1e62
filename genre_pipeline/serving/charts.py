"""Geometry of the page's small pictures: numbers in, coordinates out. The templates draw them as SVG, unstyled."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

WIDTH, HEIGHT = 320, 120
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 8, 8, 22


@dataclass(frozen=True)
class Curve:
    """One line over the epochs, with what its axes say."""

    name: str
    points: str
    """As `polyline` takes them."""
    last: tuple[float, float]
    low: str
    high: str
    epochs: int
    said: str
    """The curve in words, for who does not see it."""


def curve(name: str, epochs: Sequence[int], values: Sequence[float | None]) -> Curve | None:
    """A curve in a picture of WIDTH by HEIGHT; None where nothing was measured."""
    pairs = zip(epochs, values, strict=True)
    known = [(epoch, value) for epoch, value in pairs if value is not None and math.isfinite(value)]
    if not known:
        return None
    low, high = min(value for _, value in known), max(value for _, value in known)
    first, span, room = known[0][0], max(known[-1][0] - known[0][0], 1), (high - low) or 1.0
    places = [
        (
            round(_LEFT + (WIDTH - _LEFT - _RIGHT) * (epoch - first) / span, 1),
            round(_TOP + (HEIGHT - _TOP - _BOTTOM) * (high - value) / room, 1),
        )
        for epoch, value in known
    ]
    said = f"{name}: {known[0][1]:.3g} after the first epoch, {known[-1][1]:.3g} after epoch {known[-1][0]}"
    points = " ".join(f"{x},{y}" for x, y in places)
    return Curve(name, points, places[-1], f"{low:.3g}", f"{high:.3g}", known[-1][0], said)


def curves_of(epochs: pl.DataFrame) -> list[Curve]:
    """The loss and every validation metric of a training."""
    names = [name for name in epochs.columns if name == "train_loss" or name.startswith("validation_")]
    found = [curve(_label(name), epochs["epoch"].to_list(), epochs[name].to_list()) for name in names]
    return [one for one in found if one is not None]


def _label(name: str) -> str:
    return name.replace("train_", "training ").replace("validation_", "validation ").replace("ndcg", "nDCG@10")
