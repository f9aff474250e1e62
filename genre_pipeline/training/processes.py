"""What the loop asks of the processes that train together; here there is one, `training.distributed` has many.

Every method is called by all processes at the same point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

    from genre_pipeline.training.task import StepLoss, TrainingTask

Value = TypeVar("Value")


class OneProcess:
    """A training that shares nothing."""

    rank = 0
    world = 1
    is_sharded = False
    """Whether each process holds only its part of the weights."""

    def spread(self, task: TrainingTask[Any]) -> Callable[[Any], StepLoss]:
        """Called before the optimiser is made; returns the loss whose backward pass shares the gradients' mean."""
        return task.loss

    def share(self, batches: Sequence[Value]) -> list[tuple[Value, bool]]:
        """This process's part of a step's batches, as many for each; False marks one that must not count."""
        return [(batch, True) for batch in batches]

    @contextmanager
    def last_of_step(self, is_last: bool) -> Iterator[None]:
        """Around a backward pass: gradients are shared in a step's last one only."""
        yield

    @contextmanager
    def whole_weights(self) -> Iterator[None]:
        """Around what reads weights outside the loss, as validation does."""
        yield

    def total(self, tensor: Tensor) -> Tensor:
        """Sum over the processes."""
        return tensor

    def agreed(self, values: Mapping[str, float]) -> dict[str, float]:
        """The first process's values, so that all decide alike."""
        return dict(values)

    def all_of(self, tensor: Tensor) -> list[Tensor]:
        """Each process's tensor, in order."""
        return [tensor]

    def whole(self, tensor: Tensor) -> Tensor:
        """A tensor that may be spread over the processes, in one piece."""
        return tensor

    def part_of(self, whole: Tensor, like: Tensor) -> Tensor:
        """The counterpart of `whole`: this process's part, spread as `like` is."""
        return whole
