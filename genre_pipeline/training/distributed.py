"""Training in several processes, on one GPU each or on a CPU: the same loop, the batches of a step shared out.

`ddp` keeps a whole network in each process, `fsdp` a part of it. A step of n processes is the step of one process that
accumulates n batches. Processes start fresh (spawn), meet over a file, and leave their result as a checkpoint, which
the calling process takes up; nothing else comes back. Tasks say nothing of all this.
"""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from pydantic import Field, model_validator

from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.training.loop import Report, TrainingResult, train
from genre_pipeline.training.processes import OneProcess, Value
from genre_pipeline.training.task import LoopConfig, StepLoss, TrainingTask

if TYPE_CHECKING:
    from torch import Tensor, nn

Task = TypeVar("Task", bound=TrainingTask[Any])
_POLL_SECONDS = 0.2


class DistributedConfig(Settings):
    """Whether trainings share their work among processes."""

    strategy: Literal["none", "ddp", "fsdp"] = "none"
    """`ddp`: each process holds the whole network. `fsdp`: each holds a part, for networks that one GPU cannot hold."""
    processes: int = Field(default=1, ge=1)
    """Processes of this machine, each with a GPU of its own where `device` is cuda."""

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if (self.strategy == "none") != (self.processes == 1):
            raise ValueError("`strategy: none` goes with one process, `ddp` and `fsdp` with more")
        return self


def train_distributed(
    make_task: Callable[[], Task],
    config: LoopConfig,
    distributed: DistributedConfig,
    *,
    seed: int,
    device: str = "cpu",
    checkpoints: Path | None = None,
    report: Report | None = None,
    clock: Callable[[], float] = time.monotonic,
    last_epoch: int | None = None,
) -> tuple[Task, TrainingResult]:
    """Train the task that `make_task` makes, as `training.loop.train` does, in as many processes as configured.

    `make_task` is called in each process, so it has to be a function of a module, or a `functools.partial` of one;
    several processes have clocks of their own.
    Raises `TrainingError` where there are fewer GPUs than processes, or a process fails; as `train` otherwise.
    """
    options: dict[str, Any] = {"seed": seed, "last_epoch": last_epoch}
    task = make_task()
    if distributed.strategy == "none":
        options |= {"device": device, "checkpoints": checkpoints, "report": report, "clock": clock}
        return task, train(task, config, **options)
    _check_devices(device, distributed.processes)
    with tempfile.TemporaryDirectory(prefix="genre-training-") as scratch:
        folder = checkpoints or Path(scratch) / "checkpoints"
        work = _Work(make_task, config, distributed, device, str(Path(scratch) / "meeting"), folder, options)
        _run(work, report)
        return task, train(task, config, checkpoints=folder, processes=_Finished(distributed.processes), **options)


@dataclass(frozen=True)
class _Work:
    """What every process is given."""

    make_task: Callable[[], TrainingTask[Any]]
    config: LoopConfig
    distributed: DistributedConfig
    device: str
    meeting: str
    """The file over which the processes find each other."""
    checkpoints: Path
    options: Mapping[str, Any]


class _Finished(OneProcess):
    """Takes up what so many processes have finished."""

    def __init__(self, world: int) -> None:
        self.world = world


def _run(work: _Work, report: Report | None) -> None:
    from torch.multiprocessing import get_context
    from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, start_processes

    rows = get_context("spawn").SimpleQueue()
    running = start_processes(  # type: ignore[no-untyped-call]
        _process, (work, rows), work.distributed.processes, join=False, start_method="spawn"
    )
    try:
        done = False
        while not done:
            done = running.join(timeout=_POLL_SECONDS)
            while not rows.empty():
                row = rows.get()
                if report is not None:
                    report(row)
    except (ProcessRaisedException, ProcessExitedException) as error:
        raise TrainingError(
            f"A training process failed: {str(error).strip().splitlines()[-1]}",
            remedy="Its log says more. Start again: it goes on from the last checkpoint.",
        ) from error


def _process(rank: int, work: _Work, rows: Any) -> None:
    import torch
    import torch.distributed as dist

    world, device = work.distributed.processes, work.device
    if device.startswith("cuda"):
        device = f"cuda:{rank}"
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
    dist.init_process_group(backend, init_method=f"file://{work.meeting}", rank=rank, world_size=world)
    try:
        kind = FullyShardedProcesses if work.distributed.strategy == "fsdp" else DataParallelProcesses
        train(
            work.make_task(), work.config, device=device, checkpoints=work.checkpoints,
            report=rows.put if rank == 0 else None, processes=kind(rank, world, device), **work.options,
        )  # fmt: skip
    finally:
        dist.destroy_process_group()


class DataParallelProcesses(OneProcess):
    """One of several processes with a whole network each (`DistributedDataParallel`)."""

    def __init__(self, rank: int, world: int, device: str) -> None:
        self.rank, self.world, self.device = rank, world, device
        self.module: Any = None
        self.parts: deque[StepLoss] = deque(maxlen=1)
        """What the loss last computed, which modules that spread networks would not hand through."""

    def spread(self, task: TrainingTask[Any]) -> Callable[[Any], StepLoss]:
        """Give all processes the first one's weights; gradients become their mean in the backward pass."""
        from torch.nn.parallel import DistributedDataParallel

        loss = _loss_module(task, self.parts)
        devices = [self.device] if self.device.startswith("cuda") else None
        # Not every step needs every weight: sampled softmax, masked modalities.
        self.module = DistributedDataParallel(
            loss, device_ids=devices, find_unused_parameters=True, broadcast_buffers=False
        )
        return self._loss

    def _loss(self, batch: Any) -> StepLoss:
        loss = self.module(batch)
        return replace(self.parts[-1], loss=loss)

    def share(self, batches: Sequence[Value]) -> list[tuple[Value, bool]]:
        """Every n-th batch; a process without one computes the step's first again, which does not count."""
        mine = [(batch, True) for batch in batches[self.rank :: self.world]]
        return mine + [(batches[0], False)] * (-(-len(batches) // self.world) - len(mine))

    @contextmanager
    def last_of_step(self, is_last: bool) -> Iterator[None]:
        """Gradients travel once a step."""
        if is_last:
            yield
        else:
            with self.module.no_sync():
                yield

    def total(self, tensor: Tensor) -> Tensor:
        """Sum over the processes."""
        import torch.distributed as dist

        summed = tensor.clone()
        dist.all_reduce(summed)
        return summed

    def agreed(self, values: Mapping[str, float]) -> dict[str, float]:
        """The first process's values."""
        import torch
        import torch.distributed as dist

        said = torch.tensor(list(values.values()), dtype=torch.float64)
        if len(said):
            dist.broadcast(said, src=0)
        return dict(zip(values, said.tolist(), strict=True))

    def all_of(self, tensor: Tensor) -> list[Tensor]:
        """Each process's tensor, on the CPU."""
        import torch
        import torch.distributed as dist

        gathered = [torch.empty_like(tensor) for _ in range(self.world)]
        dist.all_gather(gathered, tensor)
        return gathered


class FullyShardedProcesses(DataParallelProcesses):
    """One of several processes with a part of the network each (`fully_shard`, block by block)."""

    is_sharded = True

    def spread(self, task: TrainingTask[Any]) -> Callable[[Any], StepLoss]:
        """Every block of a list of blocks is gathered when it is needed; the rest of the network is one more block."""
        from torch import nn
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        # Said, since the default is a GPU wherever there is one, even for a training on the CPU.
        mesh = init_device_mesh(self.device.split(":", 1)[0], (self.world,))
        loss = _loss_module(task, self.parts)
        for blocks in [module for module in loss.modules() if isinstance(module, nn.ModuleList)]:
            for block in blocks:
                fully_shard(block, mesh=mesh)
        self.module = fully_shard(loss, mesh=mesh)
        return self._loss

    @contextmanager
    def last_of_step(self, is_last: bool) -> Iterator[None]:
        """Gradients travel once a step."""
        self.module.set_requires_gradient_sync(is_last)
        yield

    @contextmanager
    def whole_weights(self) -> Iterator[None]:
        """The whole network in each process, for as long as validation takes."""
        from torch.distributed.fsdp import FSDPModule

        parts = [module for module in self.module.modules() if isinstance(module, FSDPModule)]
        for part in parts:
            part.unshard()
        try:
            yield
        finally:
            for part in parts:
                part.reshard()

    def whole(self, tensor: Tensor) -> Tensor:
        """Gathered from all processes."""
        from torch.distributed.tensor import DTensor

        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def part_of(self, whole: Tensor, like: Tensor) -> Tensor:
        """Spread as `like` is."""
        from torch.distributed.tensor import DTensor, distribute_tensor

        if not isinstance(like, DTensor):
            return whole
        return distribute_tensor(whole.to(self.device), like.device_mesh, like.placements)


def _loss_module(task: TrainingTask[Any], parts: deque[StepLoss]) -> nn.Module:
    """The task's loss as a module, so that what spreads networks can follow its forward pass."""
    from torch import nn

    class Loss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = task.model

        def forward(self, batch: Any) -> Tensor:
            parts.append(task.loss(batch))
            return parts[-1].loss

    return Loss()


def _check_devices(device: str, processes: int) -> None:
    import torch
    import torch.distributed as dist

    if not dist.is_available():
        raise TrainingError("This torch cannot train in several processes", remedy="Set `distributed.strategy: none`.")
    if device.startswith("cuda") and torch.cuda.device_count() < processes:
        raise TrainingError(
            f"{processes} processes need as many GPUs, and there are {torch.cuda.device_count()}",
            remedy="Lower `distributed.processes`.",
        )
