"""One step of the training loop: gradients of a group of batches, clipped, applied at the scheduled rate.

Numbers stay on the device until they are read, so that a GPU is not waited for in every step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from genre_pipeline.training.processes import OneProcess
from genre_pipeline.training.task import LoopConfig, TrainingTask

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_CUDA_STEPS_UNREAD = 16
"""Steps whose loss stays on the GPU before it is read: reading waits for the GPU."""


class StepNumbers(NamedTuple):
    """What a step measured, over all its batches."""

    rate: float
    loss_sum: float
    """Each batch's loss times its weight."""
    weight: float
    tokens: float
    items: float
    norm: float
    """Of the gradient, before clipping."""


def schedule(step: int, steps: int, warmup_share: float) -> float:
    """Share of the peak rate in `step`, from 0, of `steps`: linear warm-up, then half a cosine down to zero."""
    warmup = max(1, int(steps * warmup_share))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))


def on_device(value: Any, device: str) -> Any:
    """`value` with every tensor in its tuples, lists and mappings moved; pinned first on the way to a GPU."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.pin_memory().to(device, non_blocking=True) if device.startswith("cuda") else value.to(device)
    if isinstance(value, Mapping):
        return {key: on_device(one, device) for key, one in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(on_device(one, device) for one in value))
    return type(value)(on_device(one, device) for one in value) if isinstance(value, tuple | list) else value


class Stepper:
    """The optimiser of a training and its steps."""

    def __init__(self, task: TrainingTask[Any], config: LoopConfig, device: str, processes: OneProcess) -> None:
        self.config, self.device, self.processes = config, device, processes
        self.kind = device.split(":", 1)[0]
        task.model.to(device)
        if config.gradient_checkpointing:
            task.checkpoint_gradients()
        self.loss = processes.spread(task)
        self.optimiser = _optimiser(task, config, fused=not processes.is_sharded)
        self.unread: list[tuple[float, Tensor, Tensor]] = []

    @property
    def weights(self) -> list[Tensor]:
        """What is trained, in the optimiser's order."""
        return [weight for group in self.optimiser.param_groups for weight in group["params"]]

    @property
    def is_due(self) -> bool:
        """Whether it is time to `read`."""
        return len(self.unread) >= (_CUDA_STEPS_UNREAD if self.kind == "cuda" else 1)

    def step(self, batches: Sequence[Any], rate: float) -> None:
        """Move the weights by the gradient of all `batches`, each counting by its weight."""
        import torch

        for group in self.optimiser.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        mine = self.processes.share(batches)
        sums = [
            self._backward(batch, counts, alone=len(batches) == 1, is_last=place == len(mine) - 1)
            for place, (batch, counts) in enumerate(mine)
        ]
        total = self.processes.total(sums[0] if len(sums) == 1 else torch.stack(sums).sum(dim=0))
        if len(batches) > 1:
            self._divide_gradients(total[1] / self.processes.world)
        norm = self.processes.whole(torch.nn.utils.clip_grad_norm_(self.weights, self.config.clip_norm))
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.unread.append((rate, total, norm))

    def _backward(self, batch: Any, counts: bool, *, alone: bool, is_last: bool) -> Tensor:
        """Add a batch's gradients, times its weight where there are others.

        float64 [4] on the device: loss times weight, weight, tokens, items.
        """
        import torch

        with self.processes.last_of_step(is_last):
            with torch.autocast(self.kind, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
                part = self.loss(on_device(batch, self.device))
            weight = part.weight * counts
            (part.loss if alone else part.loss * weight).backward()  # type: ignore[no-untyped-call]
        sums = torch.tensor([weight, weight, part.tokens * counts, part.items * counts], dtype=torch.float64)
        sums = sums.to(self.device, non_blocking=True)
        sums[0] *= part.loss.detach()
        return sums

    def _divide_gradients(self, weight: Tensor) -> None:
        for parameter in self.weights:
            if parameter.grad is not None:
                parameter.grad.div_(weight.to(parameter.grad.dtype))

    def read(self) -> list[StepNumbers]:
        """The numbers of the steps since the last call; waits for the device."""
        read = []
        for rate, total, norm in self.unread:
            loss_sum, weight, tokens, items = total.tolist()
            read.append(StepNumbers(rate, loss_sum, weight, tokens, items, float(norm)))
        self.unread = []
        return read


def _optimiser(task: TrainingTask[Any], config: LoopConfig, *, fused: bool) -> torch.optim.AdamW:
    import torch

    groups = task.parameter_groups(config)
    return torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay, fused=fused)
