"""The training loop on a GPU. Needs torch, transformers, safetensors, polars, pydantic and peft, and no more."""

import numpy as np
import pytest
import torch

from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.training.distributed import DistributedConfig, train_distributed
from genre_pipeline.training.loop import train
from genre_pipeline.training.memory import estimate_memory
from genre_pipeline.training.sequence_training import train_sequence
from genre_pipeline.training.steps import on_device
from genre_pipeline.training.task import LoopConfig
from genre_pipeline.training.validation import validation_target
from tests.training.small_encoders import LARGE, MINILM, Encoding
from tests.training.small_tasks import Noisy, weights
from tests.training.test_sequence_training import CONFIG as SEQUENCE
from tests.training.test_sequence_training import cycles

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")

CONFIG = LoopConfig(epochs=3, learning_rate=0.05)
FACTOR = 1.4
"""The memory estimate lies within this factor of the allocator's peak, either way."""


def test_a_gpu_learns_what_a_cpu_learns() -> None:
    on_cpu = train(Noisy(dropout=0), CONFIG, seed=1)
    task = Noisy(dropout=0)
    on_gpu = train(task, CONFIG, seed=1, device="cuda")
    columns = ["step", "epoch", "train_loss", "learning_rate", "grad_norm"]
    np.testing.assert_allclose(on_gpu.curves[columns], on_cpu.curves[columns], rtol=1e-3)
    np.testing.assert_allclose(on_gpu.epochs["train_loss"], on_cpu.epochs["train_loss"], rtol=1e-3)
    assert {weight.device.type for weight in task.model.parameters()} == {"cpu"}
    assert on_gpu.peak_gpu_mb is not None
    assert on_gpu.peak_gpu_mb > 0
    assert on_cpu.peak_gpu_mb is None


def test_a_seed_fixes_dropout_on_the_gpu_and_leaves_its_generator_alone() -> None:
    torch.cuda.manual_seed(3)
    expected = torch.rand(3, device="cuda")
    torch.cuda.manual_seed(3)
    one, same = Noisy(), Noisy()
    train(one, CONFIG, seed=1, device="cuda")
    train(same, CONFIG, seed=1, device="cuda")
    assert torch.equal(torch.rand(3, device="cuda"), expected)
    assert weights(one) == weights(same)


def test_a_resumed_training_ends_with_the_same_bytes(tmp_path) -> None:
    class Interrupted(Noisy):
        def batches(self, epoch: int):
            for place, batch in enumerate(super().batches(epoch)):
                if (epoch, place) == (2, 3) and not done:
                    done.append(True)
                    raise InterruptedError
                yield batch

    done: list[bool] = []
    expected = Noisy()
    config = CONFIG.model_copy(update={"checkpoint_every": 2})
    result = train(expected, config, seed=1, device="cuda")
    with pytest.raises(InterruptedError):
        train(Interrupted(), config, seed=1, device="cuda", checkpoints=tmp_path)
    task = Interrupted()
    resumed = train(task, config, seed=1, device="cuda", checkpoints=tmp_path)
    assert weights(task) == weights(expected)
    assert resumed.curves["train_loss"].equals(result.curves["train_loss"])


def test_batches_are_pinned_on_their_way() -> None:
    batch = on_device({"ids": torch.ones(4), "more": (torch.zeros(2), "text")}, "cuda")
    torch.cuda.synchronize()
    assert (batch["ids"].sum().item(), batch["more"][0].device.type, batch["more"][1]) == (4.0, "cuda", "text")


@pytest.mark.parametrize(
    ("change", "trained"),
    [
        ({}, "all"),
        ({}, "top"),
        ({"precision": "bfloat16"}, "all"),
        ({"gradient_checkpointing": True}, "all"),
        ({"gradient_checkpointing": True, "precision": "bfloat16"}, "all"),
    ],
)
def test_the_memory_estimate_is_near_the_allocators_peak(change: dict, trained: str) -> None:
    config = LoopConfig(epochs=1, **change)
    task = Encoding(MINILM, batch_size=64, length=128, trained=trained)
    result = train(task, config, seed=1, device="cuda")
    estimated = estimate_memory(task.footprint(), config).total / 2**20
    print(f"{change} {trained}: measured {result.peak_gpu_mb:.0f} MB, estimated {estimated:.0f} MB")
    assert result.peak_gpu_mb / FACTOR < estimated < result.peak_gpu_mb * FACTOR


def test_bfloat16_is_faster_and_learns_the_same() -> None:
    exact, coarse = (
        train(
            Encoding(LARGE, batch_size=64, length=128, steps=24),
            LoopConfig(epochs=2, learning_rate=1e-4, precision=precision),
            seed=1,
            device="cuda",
        )
        for precision in ("float32", "bfloat16")
    )
    rates = [result.curves.filter(epoch=2)["tokens_per_second"].mean() for result in (exact, coarse)]
    print(f"tokens a second: float32 {rates[0]:,.0f}, bfloat16 {rates[1]:,.0f}")
    assert rates[1] > 1.5 * rates[0]
    np.testing.assert_allclose(coarse.epochs["train_loss"], exact.epochs["train_loss"], rtol=0.02)


def test_what_does_not_fit_is_refused_before_it_starts() -> None:
    task = Encoding(MINILM, batch_size=2**17, length=512)
    with pytest.raises(TrainingError, match=r"batch_size \d+ with accumulate"):
        train(task, LoopConfig(), seed=1, device="cuda")
    assert all(weight.grad is None for weight in task.model.parameters())


def test_more_processes_than_gpus_are_refused() -> None:
    distributed = DistributedConfig(strategy="ddp", processes=torch.cuda.device_count() + 1)
    with pytest.raises(TrainingError, match="need as many GPUs"):
        train_distributed(Noisy, CONFIG, distributed, seed=1, device="cuda")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_sequence_network_learns_what_comes_next(precision: str) -> None:
    data, truth = cycles()
    config = SEQUENCE.model_copy(update={"precision": precision, "full_softmax_below": 0, "negatives": 8})
    trained = train_sequence(data, config, seed=1, device="cuda", validation=validation_target(data, truth))
    assert trained.decisions["validation_ndcg"] > 0.9
    assert next(trained.model.parameters()).device.type == "cpu"
