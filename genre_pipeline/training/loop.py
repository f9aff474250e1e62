"""The one training loop: any `TrainingTask`, from its first weights to its best ones, with the curves on the way.

Warm-up and cosine, accumulation, clipping, bf16 autocast, early stopping, a time budget and resuming live here and
nowhere else. What a batch is, how its loss is computed and what validation measures belong to the task. The same task,
configuration and seed give the same weights, bit by bit, on one machine's CPU, killed in between or not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Generic

import polars as pl

from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.training.checkpoints import (
    Checkpoint,
    CheckpointFolder,
    generators,
    load_optimiser,
    optimiser_tensors,
    set_generators,
    under,
)
from genre_pipeline.training.curves import STEP_CURVE, Curves
from genre_pipeline.training.memory import available_memory, require_memory
from genre_pipeline.training.processes import OneProcess
from genre_pipeline.training.steps import Stepper, schedule
from genre_pipeline.training.task import Batch, LoopConfig, StepLoss, TrainingTask

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["STEP_CURVE", "LoopConfig", "Report", "StepLoss", "TrainingResult", "TrainingTask", "train"]

Report = Callable[[Mapping[str, float]], None]
"""Progress: one row of the epochs' curve after each epoch, without what was not measured."""


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
    processes: OneProcess | None = None,
) -> TrainingResult:
    """Train the task's model and leave it with its best weights.

    With `checkpoints`, a folder, it goes on from where the same training (data, settings, seed) was killed, and writes
    its own checkpoints below it; whoever gave the folder removes it when the result is safe.
    `last_epoch` stops there without shortening the schedule, as a refit on more data needs it. `one_thread` holds torch
    to one thread on a CPU, without which no two trainings end alike. torch's global generator is left as it was.

    Raises `TrainingError` where the memory would not do, there is no batch, or the loss or a gradient is no number;
    `ModelFileError` where the checkpoint is damaged.
    """
    import torch

    processes = processes or OneProcess()
    with torch.random.fork_rng(devices=_cuda_devices(device)), _threads(1 if one_thread and device == "cpu" else None):
        torch.manual_seed(seed)
        task.prepare()
        footprint = task.footprint()
        if footprint is not None:
            require_memory(footprint, config, available=available_memory(device, config.memory_limit_mb))
        loop = _Loop(task, config, device, processes, report, clock)
        if processes.world > 1:
            torch.manual_seed(seed * processes.world + processes.rank)
        if checkpoints is not None:
            identity = f"{config.model_dump_json()} {seed} {last_epoch} {processes.world} {task.fingerprint()}"
            loop.go_on_from(CheckpointFolder(checkpoints, identity))
        loop.run(last_epoch)
    if not processes.is_sharded:
        task.model.cpu()
    task.model.eval()
    return loop.result()


@dataclass
class _Progress:
    """Where a training stands; what a checkpoint's record holds beside the epochs' rows."""

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
        processes: OneProcess,
        report: Report | None,
        clock: Callable[[], float],
    ) -> None:
        self.task, self.config, self.device, self.processes = task, config, device, processes
        self.report, self.clock, self.is_cuda = report, clock, device.startswith("cuda")
        self.stepper = Stepper(task, config, device, processes)
        self.batches_a_step = config.accumulate * processes.world
        self.steps_an_epoch = -(-task.batch_count() // self.batches_a_step)
        self.progress = _Progress(config.epochs)
        self.curves = Curves()
        self.best_weights: dict[str, Tensor] | None = None
        self.folder: CheckpointFolder | None = None
        self.started = self.read_at = clock()
        if self.is_cuda:
            _reset_peak(device)

    def go_on_from(self, folder: CheckpointFolder) -> None:
        """Write checkpoints there from now on; where there is one already, stand where it stands."""
        self.folder = folder
        found = folder.load()
        if found is not None:
            self._restore(found)

    def run(self, last_epoch: int | None) -> None:
        """Train until the last epoch, or until validation no longer improves; keep the best weights."""
        if not self.steps_an_epoch:
            raise TrainingError("There is no batch to train on", remedy="Give more data, or smaller batches.")
        while self.progress.epoch <= (last_epoch or self.progress.planned) and not self._has_waited():
            self._epoch()
            self._save()
        if self.best_weights is not None:
            _load(self.task.model, self.best_weights)

    def result(self) -> TrainingResult:
        """What `train` returns."""
        import torch

        return TrainingResult(
            self.curves.step_frame(),
            self.curves.epoch_frame(),
            self.progress.best_epoch or self.progress.epoch - 1,
            self.progress.planned,
            torch.cuda.max_memory_allocated(self.device) / 2**20 if self.is_cuda else None,
        )

    def _has_waited(self) -> bool:
        if self.progress.best is None:
            return False
        waited = (self.progress.epoch - 1 - self.progress.best_epoch) // self.config.validate_every
        return waited >= self.config.patience

    def _epoch(self) -> None:
        at = self.progress
        self.task.model.train()
        batches = islice(self.task.batches(at.epoch), at.steps_in_epoch * self.batches_a_step, None)
        for group in _grouped(batches, self.batches_a_step):
            self.stepper.step(group, self._rate())
            at.step, at.steps_in_epoch = at.step + 1, at.steps_in_epoch + 1
            if self.stepper.is_due:
                self._read()
            if self.config.checkpoint_every and at.step % self.config.checkpoint_every == 0:
                self._save()
        self._read()
        metrics = self._validated()
        at.seconds = self.processes.agreed({"seconds": self.clock() - self.started})["seconds"]
        row = {"epoch": at.epoch, "train_loss": at.loss_sum / at.weight_sum, "learning_rate": self.curves.steps[-1][3]}
        self.curves.epochs.append({**row, **metrics, "seconds": at.seconds})
        if self.report is not None:
            self.report({name: value for name, value in self.curves.epochs[-1].items() if value is not None})
        if at.epoch == 1 and self.config.max_minutes is not None:
            at.planned = max(1, min(at.planned, int(self.config.max_minutes * 60 / max(at.seconds, 1e-6))))
        at.epoch, at.steps_in_epoch, at.loss_sum, at.weight_sum = at.epoch + 1, 0, 0.0, 0.0

    def _validated(self) -> Mapping[str, float]:
        at, name = self.progress, self.task.decides
        if at.epoch % self.config.validate_every and at.epoch != at.planned:
            return {}
        with self.processes.whole_weights():
            metrics = self.processes.agreed(self.task.validate())
        if name is not None and metrics:
            score = metrics[name] if self.task.larger_is_better else -metrics[name]
            if not math.isfinite(score):
                raise _diverged(f"{name} is {metrics[name]} after epoch {at.epoch}")
            if at.best is None or score > at.best:
                at.best, at.best_epoch = score, at.epoch
                self.best_weights = {name: tensor.detach().clone() for name, tensor in _changing(self.task.model)}
        return metrics

    def _rate(self) -> float:
        steps = self.steps_an_epoch * self.progress.planned
        return self.config.learning_rate * schedule(self.progress.step, steps, self.config.warmup_share)

    def _read(self) -> None:
        """Turn what the last steps measured into rows of the curve."""
        if not (read := self.stepper.read()):
            return
        at, now = self.progress, self.clock()
        passed = now - self.read_at
        rates = [
            sum(counts) / passed if passed > 0 else None for counts in zip(*(row[3:5] for row in read), strict=True)
        ]
        for step, one in enumerate(read, start=at.step - len(read) + 1):
            loss = one.loss_sum / one.weight if one.weight else math.nan
            if not (math.isfinite(loss) and math.isfinite(one.norm)):
                raise _diverged(f"the loss is {loss} and the gradient's norm {one.norm} in step {step}")
            at.loss_sum, at.weight_sum = at.loss_sum + one.loss_sum, at.weight_sum + one.weight
            self.curves.steps.append((step, at.epoch, loss, one.rate, one.norm, *rates, now - self.started))
        self.read_at = now

    def _save(self) -> None:
        if self.folder is None:
            return
        self._read()
        self.progress.seconds = self.clock() - self.started
        whole = self.processes.whole
        state = {f"weights.{name}": whole(tensor) for name, tensor in _changing(self.task.model)}
        state |= {f"optimiser.{name}": whole(tensor) for name, tensor in optimiser_tensors(self.stepper.optimiser)}
        for name, generator in generators(self.device).items():
            for rank, one in enumerate(self.processes.all_of(generator)):
                state[f"generator.{rank}.{name}"] = one
        state["curve"] = self.curves.to_tensor()
        best = None if self.best_weights is None else {name: whole(one) for name, one in self.best_weights.items()}
        if self.processes.rank == 0:
            record = {**asdict(self.progress), "epochs": self.curves.epochs}
            self.folder.save(f"{self.progress.step}-{self.progress.epoch}", state, best, record)

    def _restore(self, found: Checkpoint) -> None:
        part_of, record = self.processes.part_of, dict(found.record)
        self.curves.epochs = record.pop("epochs")
        self.progress = _Progress(**record)
        weights = dict(_changing(self.task.model))
        _load(self.task.model, _parts(under("weights.", found.state), weights, part_of))
        moments = under("optimiser.", found.state)
        load_optimiser(self.stepper.optimiser, _parts(moments, _by_index(moments, self.stepper.weights), part_of))
        set_generators(under(f"generator.{self.processes.rank}.", found.state), self.device)
        self.curves.steps_from(found.state["curve"])
        self.best_weights = None if found.best is None else _parts(found.best, weights, part_of)
        self.started = self.clock() - self.progress.seconds


def _grouped(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    batches = iter(batches)
    while group := list(islice(batches, size)):
        yield group


def _changing(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """What training changes: trainable parameters, tied ones once, and buffers."""
    yield from ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)
    yield from model.named_buffers()


def _load(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    import torch

    with torch.no_grad():
        for name, tensor in _changing(model):
            tensor.copy_(weights[name])


def _parts(
    whole: Mapping[str, Tensor], like: Mapping[str, Tensor], part_of: Callable[[Tensor, Tensor], Tensor]
) -> dict[str, Tensor]:
    return {name: part_of(tensor, like[name]) for name, tensor in whole.items()}


def _by_index(moments: Mapping[str, Tensor], weights: list[Tensor]) -> dict[str, Tensor]:
    """The weight that each moment of the optimiser belongs to; a step count belongs to none and is its own."""
    return {
        name: one if name.endswith(".step") else weights[int(name.split(".", 1)[0])] for name, one in moments.items()
    }


def _diverged(what: str) -> TrainingError:
    return TrainingError(f"Training diverged: {what}", remedy="Lower `learning_rate`.")


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


def _reset_peak(device: str) -> None:
    import torch

    torch.cuda.reset_peak_memory_stats(device)
