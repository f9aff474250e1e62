"""The curves of a training: how they are kept while it runs, the frames they become, and whether they look sound."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from torch import Tensor

STEP_CURVE = {
    "step": pl.Int64,
    "epoch": pl.Int64,
    "train_loss": pl.Float64,
    "learning_rate": pl.Float64,
    "grad_norm": pl.Float64,
    "tokens_per_second": pl.Float64,
    "items_per_second": pl.Float64,
    "seconds": pl.Float64,
}
METRIC_PREFIX = "validation_"
"""Opens the name of every validation metric."""
NOISE = 0.05
"""Share by which dropout moves the loss of two epochs on a small data set, without anything being wrong."""
_DIVERGED = 3.0
"""A loss of so many times the smallest one before it has run away."""


@dataclass
class Curves:
    """Rows as they come."""

    steps: list[tuple[float | None, ...]] = field(default_factory=list)
    """In the order of `STEP_CURVE`."""
    epochs: list[dict[str, float | None]] = field(default_factory=list)

    def step_frame(self) -> pl.DataFrame:
        """A row a step: `STEP_CURVE`."""
        return pl.DataFrame(self.steps, schema=STEP_CURVE, orient="row")

    def epoch_frame(self) -> pl.DataFrame:
        """A row an epoch: epoch, train_loss, learning_rate, validation metrics, seconds."""
        names = dict.fromkeys(name for row in self.epochs for name in row if name not in {"epoch", "seconds"})
        schema = {"epoch": pl.Int64, **dict.fromkeys(names, pl.Float64), "seconds": pl.Float64}
        return pl.DataFrame(self.epochs, schema=schema)

    def to_tensor(self) -> Tensor:
        """The steps as float64 [steps, columns]; NaN where there is no value."""
        import torch

        rows = [[math.nan if value is None else value for value in row] for row in self.steps]
        return torch.tensor(rows, dtype=torch.float64).view(len(rows), len(STEP_CURVE))

    def steps_from(self, tensor: Tensor) -> None:
        """Take the steps back from `to_tensor`."""
        self.steps = [
            (int(step), int(epoch), *(None if math.isnan(value) else value for value in values))
            for step, epoch, *values in tensor.tolist()
        ]


def curve_problems(epochs: pl.DataFrame) -> list[str]:
    """What is wrong with a training by its loss an epoch: not finite, risen, or run away. Empty where it is sound.

    Whether the network is any good is for validation and promotion to say.
    """
    loss = epochs["train_loss"]
    if not len(loss) or not loss.is_finite().all():
        return ["not finite"]
    problems = []
    if loss[-1] > loss[0] + NOISE * abs(loss[0]):
        problems.append("not falling")
    lowest = loss.cum_min()
    if ((loss - lowest) > (_DIVERGED - 1) * lowest.abs().clip(lower_bound=1e-3)).any():
        problems.append("diverged")
    return problems
