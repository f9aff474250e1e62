import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.training.loop import train
from genre_pipeline.training.memory import (
    Footprint,
    NetworkSize,
    available_memory,
    estimate_memory,
    require_memory,
)
from genre_pipeline.training.task import LoopConfig
from tests.training.small_encoders import MINILM, TINY, Encoding

FACTOR = 1.3
"""The estimate lies within this factor of what was measured, either way."""
CONFIG = LoopConfig()
MIB = 2**20
SIZE = NetworkSize(parameters=100_000_000, trained=100_000_000, layers=12, width=768, inner_width=3072)
LARGE = Footprint(SIZE, batch_size=64, length=256)


def _measured(task: Encoding) -> int:
    """Bytes of weights, gradients, moments, the copy of the best weights and all that the backward pass was kept."""
    task.prepare()
    model, kept = task.model, {}
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = task.loss(next(task.batches(1))).loss
    loss.backward()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    assert all(weight.grad is not None for weight in trained)
    return (
        sum(kept.values())
        + 4 * sum(one.numel() for one in model.parameters())
        + 16 * sum(one.numel() for one in trained)
    )


@pytest.mark.parametrize(
    ("shape", "batch_size", "length", "trained"),
    [
        (TINY, 8, 64, "all"),
        (TINY, 64, 32, "all"),
        (TINY, 32, 64, "top"),
        (MINILM, 4, 64, "all"),
        (MINILM, 16, 128, "top"),
    ],
)
def test_the_estimate_is_near_what_is_held(shape: dict[str, int], batch_size: int, length: int, trained: str) -> None:
    task = Encoding(shape, batch_size=batch_size, length=length, trained=trained)
    measured = _measured(task)
    estimated = estimate_memory(task.footprint(), CONFIG).total
    assert measured / FACTOR < estimated < measured * FACTOR, (measured / MIB, estimated / MIB)


def test_what_cannot_fit_is_refused_with_what_would() -> None:
    needed = estimate_memory(LARGE, CONFIG)
    with pytest.raises(TrainingError) as caught:
        require_memory(LARGE, CONFIG, available=int(0.6 * needed.total))
    message = str(caught.value)
    assert re.search(
        r"needs about [\d,]+ MB \(weights 381 MB, gradients 381 MB, optimiser 763 MB, .*activations", message
    )
    assert "batch_size 32 with accumulate 2; or gradient_checkpointing: true" in message
    assert "batch_size 16" not in message, "the mildest change of a kind"


def test_a_network_too_large_for_any_of_it_says_so() -> None:
    with pytest.raises(TrainingError, match="LoRA, batch_size 1, gradient_checkpointing and bfloat16 together"):
        require_memory(LARGE, CONFIG, available=900 * MIB)
    with pytest.raises(TrainingError, match="Take a smaller network"):
        require_memory(LARGE, CONFIG, available=100 * MIB)


def test_what_fits_comes_back() -> None:
    assert require_memory(LARGE, CONFIG, available=10**12) == estimate_memory(LARGE, CONFIG)


@given(st.integers(1, 64), st.integers(1, 512), st.integers(1, 100))
def test_savings_save_and_more_takes_more(batch_size: int, length: int, layers: int) -> None:
    def total(config: LoopConfig = CONFIG, size: NetworkSize | None = None, batch: int = batch_size) -> int:
        sized = size or NetworkSize(10**6, 10**6, layers, 64, 256)
        return estimate_memory(Footprint(sized, batch, length), config).total

    plain = total()
    assert (
        total(CONFIG.model_copy(update={"gradient_checkpointing": True})) <= plain + 64 * 4 * batch_size * length * 1.2
    )
    assert total(batch=batch_size + 1) > plain
    assert total(CONFIG.model_copy(update={"accumulate": 8})) == plain
    assert total(size=NetworkSize(10**6, 10**6, layers, 64, 256).with_lora(1)) < plain or layers > 300


def test_the_limit_is_the_configured_one_or_what_is_free() -> None:
    assert available_memory("cpu", 3) == 3 * MIB
    assert MIB < available_memory("cpu") < 2**50


def test_the_loop_refuses_before_it_starts() -> None:
    config = LoopConfig(memory_limit_mb=1)
    task = Encoding(TINY, batch_size=64, length=64)
    with pytest.raises(TrainingError, match="1 MB may be used"):
        train(task, config, seed=1)
    assert all(weight.grad is None for weight in task.model.parameters())
