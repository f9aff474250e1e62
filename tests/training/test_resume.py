"""Trainings killed by SIGKILL, and gone on with."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.training.loop import TrainingResult, train
from tests.training.small_tasks import Noisy, weights
from tests.training.training_to_kill import CONFIG

ROOT = Path(__file__).parents[2]
# Three steps an epoch: batches 5, accumulated by 2. Mid-epoch, in the middle of writing (weights, best weights, record;
# first and later ones), between the rename of the record and the pruning, and between two epochs.
POINTS = [
    "loss:2",
    "loss:8",
    "loss:14",
    "before_rename:1",
    "before_rename:4",
    "before_rename:5",
    "before_rename:6",
    "before_pruning:3",
    "epoch_ended:1",
    "epoch_ended:3",
]


def _same(one: TrainingResult, other: TrainingResult) -> bool:
    clocked = ["seconds", "tokens_per_second", "items_per_second"]
    return (
        one.curves.drop(clocked).equals(other.curves.drop(clocked))
        and one.epochs.drop("seconds").equals(other.epochs.drop("seconds"))
        and one.best_epoch == other.best_epoch
    )


@pytest.fixture(scope="module")
def uninterrupted() -> tuple[TrainingResult, dict[str, bytes]]:
    task = Noisy()
    return train(task, CONFIG, seed=7), weights(task)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of checkpoints for each point."""
    folder = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-m", "tests.training.training_to_kill", str(folder), *POINTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(-signal.SIGKILL)] * len(POINTS), done.stderr
    return folder


@pytest.fixture(scope="module", autouse=True)
def stands(killed: Path) -> dict[str, tuple[int, int, int]]:
    """Step, epoch and step in the epoch of what each killed training left, before anybody goes on with it."""
    records = {path.parts[-3]: json.loads(path.read_text())["record"] for path in killed.rglob("checkpoint.json")}
    return {name: (one["step"], one["epoch"], one["steps_in_epoch"]) for name, one in records.items()}


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_training_ends_as_the_uninterrupted_one(killed: Path, uninterrupted: tuple, point: str) -> None:
    expected, final = uninterrupted
    task = Noisy()
    resumed = train(task, CONFIG, seed=7, checkpoints=killed / point.replace(":", "-"))
    assert weights(task) == final
    assert _same(resumed, expected)
    left = {path.name.split("-")[0] for path in (killed / point.replace(":", "-")).glob("*/*")}
    assert left == {"checkpoint.json", "state", "best"}


def test_some_work_was_saved(stands: dict[str, tuple[int, int, int]]) -> None:
    assert stands == {
        "loss-8": (4, 2, 1),
        "loss-14": (6, 3, 0),
        "before_rename-4": (2, 1, 2),
        "before_rename-5": (2, 1, 2),
        "before_rename-6": (3, 2, 0),
        "before_pruning-3": (4, 2, 1),
        "epoch_ended-1": (2, 1, 2),
        "epoch_ended-3": (8, 3, 2),
    }


def test_a_finished_training_is_not_trained_again(tmp_path: Path, uninterrupted: tuple) -> None:
    train(Noisy(), CONFIG, seed=7, checkpoints=tmp_path)
    task = Noisy()
    task.loss = None  # type: ignore[assignment,method-assign]
    assert _same(train(task, CONFIG, seed=7, checkpoints=tmp_path), uninterrupted[0])
    assert weights(task) == uninterrupted[1]


@pytest.mark.parametrize(
    "change", [{"seed": 8}, {"config": CONFIG.model_copy(update={"learning_rate": 0.1})}, {"task": Noisy(sizes=(4, 4))}]
)
def test_another_trainings_checkpoint_is_left_alone(tmp_path: Path, change: dict) -> None:
    options = {"task": Noisy(), "config": CONFIG, "seed": 7, **change}
    expected = train(**options)
    train(Noisy(), CONFIG, seed=7, checkpoints=tmp_path)
    assert _same(train(**options, checkpoints=tmp_path), expected)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("file", ["state", "best", "checkpoint"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, file: str) -> None:
    train(Noisy(), CONFIG, seed=7, checkpoints=tmp_path)
    (path,) = tmp_path.rglob(f"{file}*")
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if file != "checkpoint" else 0] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="checkpoint"):
        train(Noisy(), CONFIG, seed=7, checkpoints=tmp_path)
