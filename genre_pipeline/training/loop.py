"""The one training loop: any `TrainingTask`, from its first weights to its best ones, with the curves on the way.

Warm-up and cosine, accumulation, clipping, bf16 autocast, early stopping, a time budget and checkpoints live here and
nowhere else. What a batch is, how its loss is computed and what validation measures belong to the task. The same task,
configuration and seed give the same weights, bit by bit, on one machine's CPU.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

import polars as pl
from pydantic import Field

from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.contracts.settings import Settings

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Batch = TypeVar("Batch")
Report = Callable[[Mapping[str, float]], None]
"""Progress: one row of the epochs' curve after each epoch, without what was not measured."""

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
_CUDA_STEPS_UNREAD = 16
"""Steps whose loss stays on the GPU before it is read: reading waits for the GPU."""


class LoopConfig(Settings):
    """How a network is trained, whatever it is."""

    epochs: int = Field(default=10, ge=1)
    """Passes over the data at most."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak of the schedule: linear warm-up, then cosine to zero at the last planned epoch."""
    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps spent warming up."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decay of weight matrices; embeddings, biases and norms are left alone."""
    clip_norm: float = Field(default=5.0, gt=0)
    """Gradients are scaled down to this norm."""
    accumulate: int = Field(default=1, ge=1)
    """Batches whose gradients are added up before a step: the memory of one, the step of all."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the forward pass; `bfloat16` is autocast, weights and optimiser stay float32."""
    gradient_checkpointing: bool = False
    """Activations are computed again in the backward pass instead of kept: about a third slower, far less memory."""
    patience: int = Field(default=3, ge=1)
    """Validations without a better score before training stops."""
    validate_every: int = Field(default=1, ge=1)
    """Epochs from one validation to the next."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Time budget. After the first epoch the plan is cut to the epochs that fit into it; `null` knows no clock."""
    checkpoint_every: int = Field(default=0, ge=0)
    """Steps from one checkpoint to the next, where checkpoints are kept; 0 writes one after each epoch only."""


@dataclass(frozen=True)
class StepLoss:
    """The loss of one batch, and what it counts."""

    loss: Tensor
    """Scalar: the mean over what the batch holds."""
    weight: float
    """How much that mean counts among other batches: the number of targets, or the sum of their weights; > 0."""
    tokens: int
    """Positions computed, without padding."""
    items: int
    """Examples: windows, texts or pairs."""


class TrainingTask(ABC, Generic[Batch]):
    """What is trained: a network, its batches, its loss, its validation."""

    model: nn.Module
    """The network; given when the task is made, or built by `prepare`. `train` moves it to the device."""
    decides: ClassVar[str | None] = None
    """The validation metric that picks the best epoch; None keeps the last."""
    larger_is_better: ClassVar[bool] = True
    """Whether a larger value of that metric is better."""

    def prepare(self) -> None:
        """Called once, after the seed is set and before anything else: build here what draws its first weights."""

    @abstractmethod
    def batches(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, from 1; fixed by the epoch (and the task's own seed) alone, so that a resumed
        training can skip to where it was. Draws nothing from torch's global generator.
        """

    @abstractmethod
    def loss(self, batch: Batch) -> StepLoss:
        """The loss of a batch; tensors in it are on the model's device, arrays are as `batches` gave them."""

    def validate(self) -> Mapping[str, float]:
        """Metrics by name, empty where there is nothing to validate on. Free to call `model.eval()`."""
        return {}

    def batch_count(self) -> int:
        """Batches in an epoch, for the schedule; counted, where a task knows no faster way."""
        return sum(1 for _ in self.batches(0))

    def parameter_groups(self, config: LoopConfig) -> list[dict[str, Any]]:
        """AdamW's groups of trainable parameters: matrices decay; embeddings, biases and norms do not.

        A group may carry `lr_scale`, a factor of the scheduled rate, and any option of `torch.optim.AdamW`.
        """
        return decay_groups(self.model, config.weight_decay)

    def checkpoint_gradients(self) -> None:
        """Turn on `gradient_checkpointing`; as it stands, through the network's own switch. Raises `TrainingError`."""
        for module in self.model.modules():
            switch = getattr(module, "gradient_checkpointing_enable", None)
            if switch is not None:
                switch(gradient_checkpointing_kwargs={"use_reentrant": False})
                return
        raise TrainingError(
            f"{type(self.model).__name__} cannot compute its activations again",
            remedy="Set `gradient_checkpointing: false`, or take smaller batches and accumulate.",
        )


@dataclass(frozen=True)
class TrainingResult:
    """How a training went; the task's model holds the weights of the best epoch, on the CPU, in evaluation mode."""

    curves: pl.DataFrame
    """A row a step: `STEP_CURVE`; rates are null where the clock did not move."""
    epochs: pl.DataFrame
    """A row an epoch: epoch (Int64), train_loss, learning_rate, the validation metrics (null where not validated),
    seconds since the start (Float64)."""
    best_epoch: int
    """Epoch, from 1, whose weights were kept: the best on validation, or the last."""
    planned_epochs: int
    """Length of the learning-rate schedule; smaller than configured where the time budget cut it."""
    peak_gpu_mb: float | None
    """Most GPU memory held by tensors; None on a CPU."""


def train(
    task: TrainingTask[Batch],
    config: LoopConfig,
    *,
    seed: int,
    device: str = "cpu",
    checkpoints: Path | None = None,
    report: Report | None = None,
    clock: Callable[[], float] = time.monotonic,
    last_epoch: int | None = None,
    one_thread: bool = True,
) -> TrainingResult:
    """Train the task's model and leave it with its best weights.

    `last_epoch` stops there without shortening the schedule, as a refit on more data needs it. `one_thread` holds torch
    to one thread on a CPU, without which no two trainings end alike. torch's global generator is left as it was.
    Raises `TrainingError` where the loss or a gradient is no number, or there is no batch.
    """
    import torch

    if checkpoints is not None:
        raise NotImplementedError
    with torch.random.fork_rng(devices=_cuda_devices(device)), _threads(1 if one_thread and device == "cpu" else None):
        torch.manual_seed(seed)
        task.prepare()
        loop = _Loop(task, config, device, report, clock)
        loop.run(last_epoch)
    task.model.cpu().eval()
    return loop.result()


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups of the trainable parameters: those that decay, and embeddings, biases and norms, which do not."""
    from torch import nn

    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    decayed = [weight for weight in trained if weight.ndim > 1 and id(weight) not in embeddings]
    others = [weight for weight in trained if weight.ndim <= 1 or id(weight) in embeddings]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def on_device(value: Any, device: str) -> Any:
    """`value` with every tensor in its tuples, lists and mappings moved; pinned first on the way to a GPU."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.pin_memory().to(device, non_blocking=True) if device.startswith("cuda") else value.to(device)
    if isinstance(value, Mapping):
        return {key: on_device(one, device) for key, one in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(on_device(one, device) for one in value))
    return type(value)(on_device(one, device) for one in value) if isinstance(value, (tuple, list)) else value


@dataclass
class _Progress:
    """Where a training stands."""

    planned: int
    step: int = 0
    epoch: int = 1
    """The epoch under way."""
    steps_in_epoch: int = 0
    loss_sum: float = 0.0
    weight_sum: float = 0.0
    best: float | None = None
    best_epoch: int = 0
    seconds: float = 0.0


class _Loop(Generic[Batch]):
    """The state of one training: optimiser, progress, curves."""

    def __init__(
        self,
        task: TrainingTask[Batch],
        config: LoopConfig,
        device: str,
        report: Report | None,
        clock: Callable[[], float],
    ) -> None:
        self.task, self.config, self.device, self.report, self.clock = task, config, device, report, clock
        task.model.to(device)
        if config.gradient_checkpointing:
            task.checkpoint_gradients()
        self.optimiser = _optimiser(task, config)
        self.steps_an_epoch = -(-task.batch_count() // config.accumulate)
        self.progress = _Progress(config.epochs)
        self.rows: list[tuple[float | None, ...]] = []
        self.epoch_rows: list[dict[str, float | None]] = []
        self.unread: list[tuple[Tensor, Tensor, float, float, int, int]] = []
        self.best_weights: dict[str, Tensor] | None = None
        self.started = self.read_at = clock()

    def run(self, last_epoch: int | None) -> None:
        if not self.steps_an_epoch:
            raise TrainingError("There is no batch to train on", remedy="Give more data, or smaller batches.")
        while self.progress.epoch <= (last_epoch or self.progress.planned) and not self._has_waited():
            self._epoch()
        if self.best_weights is not None:
            _restore(self.task.model, self.best_weights)

    def result(self) -> TrainingResult:
        import torch

        metrics = {name: pl.Float64 for row in self.epoch_rows for name in row if name != "epoch"}
        seconds = metrics.pop("seconds")
        return TrainingResult(
            pl.DataFrame(self.rows, schema=STEP_CURVE, orient="row"),
            pl.DataFrame(self.epoch_rows, schema={"epoch": pl.Int64, **metrics, "seconds": seconds}),
            self.progress.best_epoch or self.progress.epoch - 1,
            self.progress.planned,
            torch.cuda.max_memory_allocated(self.device) / 2**20 if self.device.startswith("cuda") else None,
        )

    def _has_waited(self) -> bool:
        if self.progress.best is None:
            return False
        waited = (self.progress.epoch - 1 - self.progress.best_epoch) // self.config.validate_every
        return waited >= self.config.patience

    def _epoch(self) -> None:
        at = self.progress
        self.task.model.train()
        batches = islice(self.task.batches(at.epoch), at.steps_in_epoch * self.config.accumulate, None)
        for group in _grouped(batches, self.config.accumulate):
            self._step(group)
        self._read()
        metrics = self._validated()
        at.seconds = self.clock() - self.started
        row = {"epoch": at.epoch, "train_loss": at.loss_sum / at.weight_sum, "learning_rate": self.rows[-1][3]}
        self.epoch_rows.append({**row, **metrics, "seconds": at.seconds})
        if self.report is not None:
            self.report({name: value for name, value in self.epoch_rows[-1].items() if value is not None})
        if at.epoch == 1 and self.config.max_minutes is not None:
            at.planned = max(1, min(at.planned, int(self.config.max_minutes * 60 / max(at.seconds, 1e-6))))
        at.epoch, at.steps_in_epoch, at.loss_sum, at.weight_sum = at.epoch + 1, 0, 0.0, 0.0

    def _validated(self) -> Mapping[str, float]:
        at, name = self.progress, self.task.decides
        if at.epoch % self.config.validate_every and at.epoch != at.planned:
            return {}
        metrics = self.task.validate()
        if name is not None and metrics:
            score = metrics[name] if self.task.larger_is_better else -metrics[name]
            if at.best is None or score > at.best:
                at.best, at.best_epoch, self.best_weights = score, at.epoch, _trained(self.task.model)
        return metrics

    def _step(self, batches: list[Batch]) -> None:
        import torch

        rate = self._set_rate()
        parts = [self._backward(batch, alone=len(batches) == 1) for batch in batches]
        weight = sum(part.weight for part in parts)
        loss = parts[0].loss if len(parts) == 1 else sum(part.loss * part.weight for part in parts) / weight
        if len(parts) > 1:
            self._divide_gradients(weight)
        norm = torch.nn.utils.clip_grad_norm_(self._weights(), self.config.clip_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.progress.step += 1
        self.progress.steps_in_epoch += 1
        counts = sum(part.tokens for part in parts), sum(part.items for part in parts)
        self.unread.append((loss, norm, rate, weight, *counts))
        if len(self.unread) >= (_CUDA_STEPS_UNREAD if self.device.startswith("cuda") else 1):
            self._read()

    def _backward(self, batch: Batch, *, alone: bool) -> StepLoss:
        """Add a batch's gradients, times its weight where there are others; the loss comes back detached."""
        import torch

        kind = torch.device(self.device).type
        with torch.autocast(kind, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            part = self.task.loss(on_device(batch, self.device))
        (part.loss if alone else part.loss * part.weight).backward()  # type: ignore[no-untyped-call]
        return StepLoss(part.loss.detach(), part.weight, part.tokens, part.items)

    def _divide_gradients(self, weight: float) -> None:
        for parameter in self._weights():
            if parameter.grad is not None:
                parameter.grad.div_(weight)

    def _weights(self) -> list[Tensor]:
        return [weight for group in self.optimiser.param_groups for weight in group["params"]]

    def _read(self) -> None:
        """Turn what the last steps left on the device into rows of the curve."""
        if not self.unread:
            return
        at, now = self.progress, self.clock()
        passed = now - self.read_at
        tokens, items = (sum(row[place] for row in self.unread) for place in (4, 5))  # type: ignore[misc]
        rates = (tokens / passed, items / passed) if passed > 0 else (None, None)
        for place, (loss, norm, rate, weight, _, _) in enumerate(self.unread):
            step, value, size = at.step - len(self.unread) + place + 1, float(loss), float(norm)
            if not (math.isfinite(value) and math.isfinite(size)):
                raise TrainingError(
                    f"Training diverged: loss {value} and gradient norm {size} in step {step}",
                    remedy="Lower `learning_rate`.",
                )
            at.loss_sum, at.weight_sum = at.loss_sum + value * weight, at.weight_sum + weight
            self.rows.append((step, at.epoch, value, rate, size, *rates, now - self.started))
        self.unread, self.read_at = [], now

    def _set_rate(self) -> float:
        rate = self.config.learning_rate * schedule(
            self.progress.step, self.steps_an_epoch * self.progress.planned, self.config.warmup_share
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        return rate


def schedule(step: int, steps: int, warmup_share: float) -> float:
    """Share of the peak rate in `step`, from 0, of `steps`: linear warm-up, then half a cosine down to zero."""
    warmup = max(1, int(steps * warmup_share))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))


def _optimiser(task: TrainingTask[Any], config: LoopConfig) -> torch.optim.AdamW:
    import torch

    return torch.optim.AdamW(
        task.parameter_groups(config), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )


def _grouped(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    batches = iter(batches)
    while group := list(islice(batches, size)):
        yield group


def _trained(model: nn.Module) -> dict[str, Tensor]:
    """Copies of what training changes: trainable parameters and buffers, tied ones once."""
    return {name: tensor.detach().clone() for name, tensor in _changing(model)}


def _restore(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    import torch

    with torch.no_grad():
        for name, tensor in _changing(model):
            tensor.copy_(weights[name])


def _changing(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)
    yield from model.named_buffers()


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Hold torch to so many threads: several add in the order they finish, and no two trainings end alike."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cuda_devices(device: str) -> list[int]:
    import torch

    return [torch.device(device).index or 0] if device.startswith("cuda") else []
