"""Two processes on a CPU (gloo) against one that accumulates two batches."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.training.distributed import DataParallelProcesses, DistributedConfig, train_distributed
from genre_pipeline.training.loop import TrainingResult, train
from genre_pipeline.training.sequence_training import SequenceTask, SequenceTrainingConfig
from genre_pipeline.training.task import LoopConfig, TrainingTask
from genre_pipeline.training.validation import validation_target
from tests.training.small_tasks import Noisy
from tests.training.test_sequence_training import NETWORK, cycles

# Five batches an epoch: in the last step one process has none.
CONFIG = SequenceTrainingConfig(
    network=NETWORK.model_copy(update={"dropout": 0.0, "id_dropout": 0.0}),
    epochs=3, batch_size=13, learning_rate=0.02, max_minutes=None,
)  # fmt: skip


def _task() -> SequenceTask:
    data, truth = cycles()
    return SequenceTask(data, CONFIG, seed=1, target=validation_target(data, truth))


def _alone() -> tuple[TrainingTask, TrainingResult]:
    task = _task()
    return task, train(task, CONFIG.model_copy(update={"accumulate": 2}), seed=1)


def _weights(task: TrainingTask) -> np.ndarray:
    return torch.cat([tensor.flatten() for tensor in task.model.state_dict().values()]).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_are_one_with_the_doubled_batch(strategy: str, tmp_path: Path) -> None:
    expected_task, expected = _alone()
    rows: list[dict[str, float]] = []
    distributed = DistributedConfig(strategy=strategy, processes=2)
    task, result = train_distributed(_task, CONFIG, distributed, seed=1, report=rows.append)
    columns = ["step", "epoch", "train_loss", "learning_rate", "grad_norm"]
    np.testing.assert_allclose(result.curves[columns], expected.curves[columns], rtol=2e-3)
    np.testing.assert_allclose(_weights(task), _weights(expected_task), atol=2e-3)
    epochs = ["train_loss", "validation_ndcg"]
    np.testing.assert_allclose(result.epochs[epochs], expected.epochs[epochs], rtol=2e-3)
    assert [row["epoch"] for row in rows] == [1, 2, 3]


def _failing() -> TrainingTask:
    raise TrainingError("Nothing to train on", remedy="Bring data.")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_processes_go_on_from_a_checkpoint(strategy: str, tmp_path: Path) -> None:
    distributed, config = DistributedConfig(strategy=strategy, processes=2), LoopConfig(epochs=2, learning_rate=0.05)
    options = {"seed": 1, "last_epoch": None}
    expected, _ = train_distributed(Noisy, config, distributed, seed=1)
    with pytest.raises(TrainingError, match="A training process failed"):
        train_distributed(
            partial(_Interrupted, str(tmp_path / "once")), config, distributed, checkpoints=tmp_path / "c", **options
        )
    task, result = train_distributed(
        partial(_Interrupted, str(tmp_path / "once")), config, distributed, checkpoints=tmp_path / "c", **options
    )
    assert result.epochs.height == 2
    np.testing.assert_array_equal(_weights(task), _weights(expected))


class _Interrupted(Noisy):
    """Fails in the second epoch, once a process."""

    def __init__(self, marker: str) -> None:
        super().__init__()
        self.marker = marker

    def batches(self, epoch: int):
        import torch.distributed as dist

        if epoch == 2 and dist.is_initialized():
            marker = Path(f"{self.marker}-{dist.get_rank()}")
            if not marker.exists():
                marker.touch()
                raise OSError("the machine went away")
        yield from super().batches(epoch)


def test_without_a_strategy_nothing_is_spawned() -> None:
    task, result = train_distributed(Noisy, LoopConfig(epochs=1), DistributedConfig(), seed=1)
    assert result.epochs.height == 1
    assert not task.model.training


def test_strategy_and_processes_belong_together() -> None:
    for wrong in ({"processes": 2}, {"strategy": "ddp"}):
        with pytest.raises(ValidationError, match="goes with one process"):
            DistributedConfig(**wrong)


def test_batches_are_shared_out_as_many_for_each() -> None:
    shares = [DataParallelProcesses(rank, 3, "cpu").share("abcde") for rank in range(3)]
    assert shares == [
        [("a", True), ("d", True)],
        [("b", True), ("e", True)],
        [("c", True), ("a", False)],
    ]


@pytest.mark.skipif(torch.cuda.device_count() > 8, reason="there are GPUs enough")
def test_more_processes_than_gpus_are_refused() -> None:
    with pytest.raises(TrainingError, match="9 processes need as many GPUs"):
        train_distributed(Noisy, LoopConfig(), DistributedConfig(strategy="ddp", processes=9), seed=1, device="cuda")
