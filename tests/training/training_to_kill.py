"""Trainings that kill themselves: `python -m tests.training.training_to_kill FOLDER POINT …` prints their exit codes.

A point is `<place>:<number>`: SIGKILL arrives when that place is reached for the nth time.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from genre_pipeline.training import checkpoints
from genre_pipeline.training.task import LoopConfig
from tests.training.small_tasks import Noisy

CONFIG = LoopConfig(epochs=4, learning_rate=0.05, checkpoint_every=2, accumulate=2)


def _killing(number: int, function: Callable[..., Any]) -> Callable[..., Any]:
    calls = 0

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)

    return counted


def _train(folder: Path, point: str) -> None:
    from genre_pipeline.training.loop import train

    place, number = point.split(":")
    task = Noisy()
    report = None
    if place == "loss":
        task.loss = _killing(int(number), task.loss)  # type: ignore[method-assign]
    elif place == "before_rename":
        checkpoints._put = _killing(int(number), checkpoints._put)
    elif place == "before_pruning":
        checkpoints.CheckpointFolder._prune = _killing(int(number), checkpoints.CheckpointFolder._prune)
    elif place == "epoch_ended":
        report = _killing(int(number), lambda row: None)
    else:
        raise ValueError(point)
    train(task, CONFIG, seed=7, checkpoints=folder, report=report)


def _in_a_child(folder: Path, point: str) -> int:
    child = os.fork()
    if not child:
        _train(folder / point.replace(":", "-"), point)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    import torch

    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # Its imports take seconds: once, for all children.

    sys.stdout.write(" ".join(str(_in_a_child(Path(sys.argv[1]), point)) for point in sys.argv[2:]))
