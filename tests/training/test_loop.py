import math
from collections.abc import Iterator
from itertools import count

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parameters_to_vector
from torch.optim.optimizer import register_optimizer_step_pre_hook

from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.training.curves import STEP_CURVE
from genre_pipeline.training.loop import train
from genre_pipeline.training.steps import on_device, schedule
from genre_pipeline.training.task import LoopConfig, StepLoss, TrainingTask
from tests.training.small_tasks import Noisy, Scripted, weights

CONFIG = LoopConfig(epochs=3, learning_rate=0.05)


def test_it_learns_and_its_curves_have_a_row_a_step_and_an_epoch() -> None:
    result = train(Noisy(), LoopConfig(epochs=30, learning_rate=0.05, patience=30), seed=1)
    assert result.curves.schema == STEP_CURVE
    assert result.curves["step"].to_list() == list(range(1, 5 * 30 + 1))
    assert result.curves["epoch"].to_list() == list(np.repeat(range(1, 31), 5))
    assert result.epochs.columns == ["epoch", "train_loss", "learning_rate", "validation_loss", "seconds"]
    assert result.epochs["validation_loss"].to_list()[-1] < result.epochs["validation_loss"][0] / 4
    assert result.best_epoch == result.epochs["validation_loss"].arg_min() + 1  # type: ignore[operator]


def test_an_epochs_loss_is_the_mean_by_weight_of_its_steps() -> None:
    result = train(Noisy(sizes=(2, 6)), CONFIG, seed=1)
    steps = result.curves.with_columns(weight=pl.Series([2, 6] * 3))
    means = steps.group_by("epoch", maintain_order=True).agg(
        (pl.col("train_loss") * pl.col("weight")).sum() / pl.col("weight").sum()
    )
    assert means["train_loss"].to_list() == pytest.approx(result.epochs["train_loss"].to_list())


def test_a_seed_fixes_every_bit_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    one, same, other = Noisy(), Noisy(), Noisy()
    for task, seed in ((one, 1), (same, 1), (other, 2)):
        train(task, CONFIG, seed=seed)
    assert torch.equal(torch.rand(3), expected)
    assert weights(one) == weights(same) != weights(other)


def test_accumulating_halves_is_a_step_of_the_whole() -> None:
    """Halves of unequal size: each counts by its weight, not as a half."""

    class Halved(Noisy):
        def batches(self, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
            for x, y in super().batches(epoch):
                yield x[:2], y[:2]
                yield x[2:], y[2:]

    whole, halved = Noisy(dropout=0), Halved(dropout=0)
    expected = train(whole, CONFIG, seed=1)
    result = train(halved, CONFIG.model_copy(update={"accumulate": 2}), seed=1)
    columns = ["train_loss", "learning_rate", "grad_norm"]
    np.testing.assert_allclose(result.curves[columns], expected.curves[columns], rtol=1e-5)
    vectors = [parameters_to_vector(task.model.parameters()).detach().numpy() for task in (whole, halved)]
    np.testing.assert_allclose(*vectors, rtol=1e-4, atol=1e-6)


def test_gradients_are_clipped_and_their_own_norm_is_what_the_curve_shows() -> None:
    applied: list[float] = []
    task = Noisy(dropout=0)
    hook = register_optimizer_step_pre_hook(
        lambda optimiser, *_: applied.append(
            float(sum(weight.grad.pow(2).sum() for weight in task.model.parameters()).sqrt())
        )
    )
    shown = train(task, CONFIG.model_copy(update={"clip_norm": 0.5}), seed=1).curves["grad_norm"]
    hook.remove()
    assert shown.min() > 0.5
    assert applied == pytest.approx([0.5] * 15, rel=1e-4)


def _prepared(task: Noisy) -> list[torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        task.prepare()
        return [weight.detach() for weight in task.model.parameters()]


@pytest.mark.parametrize(
    ("scores", "every", "patience", "epochs", "best"),
    [
        ([0.1, 0.3, 0.2, 0.2, 0.9], 1, 2, 4, 2),
        ([0.1, 0.2, 0.3, 0.4, 0.5], 1, 2, 5, 5),
        ([0.3, 0.2, 0.1], 2, 1, 4, 2),
        ([0.3, 0.3, 0.3], 1, 2, 3, 1),
    ],
)
def test_it_stops_when_validation_no_longer_improves(
    scores: list[float], every: int, patience: int, epochs: int, best: int
) -> None:
    config = CONFIG.model_copy(update={"epochs": 5, "validate_every": every, "patience": patience})
    result = train(Scripted(list(scores)), config, seed=1)
    assert (result.epochs.height, result.best_epoch) == (epochs, best)
    measured = result.epochs.drop_nulls("score")
    assert measured["epoch"].to_list() == [epoch for epoch in range(1, epochs + 1) if epoch % every == 0 or epoch == 5]


def test_the_weights_of_the_best_epoch_are_kept() -> None:
    best, last = Scripted([0.1, 0.9, 0.1]), Scripted([0.1, 0.2])
    train(best, CONFIG.model_copy(update={"patience": 9}), seed=1)
    train(last, CONFIG, seed=1, last_epoch=2)
    assert weights(best) == weights(last)


def test_the_schedule_of_a_refit_is_not_shortened() -> None:
    long, short = train(Noisy(), CONFIG, seed=1), train(Noisy(), CONFIG, seed=1, last_epoch=2)
    assert short.epochs.height == 2
    assert short.curves["learning_rate"].to_list() == long.curves["learning_rate"].to_list()[:10]


def test_the_time_budget_cuts_the_plan() -> None:
    ticks = count(0.0, 4.0)
    config = CONFIG.model_copy(update={"epochs": 9, "max_minutes": 1.0, "patience": 9})
    result = train(Noisy(), config, seed=1, clock=lambda: next(ticks))
    assert result.epochs["seconds"][0] == 24
    assert (result.planned_epochs, result.epochs.height) == (2, 2)
    assert result.curves["items_per_second"].to_list()[:3] == [8 / 4, 8 / 4, 5 / 4]
    assert result.curves["tokens_per_second"][0] == 48 / 4


def test_bfloat16_computes_coarsely_and_keeps_float32_weights() -> None:
    class Spying(Noisy):
        def loss(self, batch: tuple[torch.Tensor, torch.Tensor]) -> StepLoss:
            kinds.add(self.model(batch[0]).dtype)
            return super().loss(batch)

    kinds: set[torch.dtype] = set()
    task = Spying(dropout=0)
    coarse = train(task, CONFIG.model_copy(update={"precision": "bfloat16"}), seed=1)
    exact = train(Noisy(dropout=0), CONFIG, seed=1)
    assert kinds == {torch.bfloat16}
    assert {weight.dtype for weight in task.model.parameters()} == {torch.float32}
    np.testing.assert_allclose(coarse.epochs["train_loss"], exact.epochs["train_loss"], rtol=0.05)
    assert not coarse.epochs.equals(exact.epochs)


def test_a_group_may_learn_at_a_rate_of_its_own() -> None:
    class Frozen(Noisy):
        def parameter_groups(self, config: LoopConfig) -> list[dict]:
            first, *others = self.model.parameters()
            return [{"params": [first], "lr_scale": 0.0}, {"params": others}]

    task = Frozen()
    first, second, *_ = (tensor.clone() for tensor in _prepared(task))
    train(task, CONFIG, seed=1)
    assert torch.equal(first, task.model[0].weight)  # type: ignore[index]
    assert not torch.equal(second, task.model[0].bias)  # type: ignore[index]


def test_only_matrices_decay_and_only_what_is_trained() -> None:
    class Named(Noisy):
        def prepare(self) -> None:
            self.model = nn.ModuleDict(
                {"ids": nn.Embedding(3, 2), "free": nn.Linear(2, 2), "frozen": nn.Linear(2, 2), "norm": nn.LayerNorm(2)}
            )
            self.model["frozen"].requires_grad_(False)

    task = Named()
    task.prepare()
    names = {id(weight): name for name, weight in task.model.named_parameters()}
    groups = task.parameter_groups(LoopConfig(weight_decay=0.5))
    assert [(group["weight_decay"], [names[id(one)] for one in group["params"]]) for group in groups] == [
        (0.5, ["free.weight"]),
        (0.0, ["ids.weight", "free.bias", "norm.weight", "norm.bias"]),
    ]


def _tiny_bert() -> nn.Module:
    from transformers import BertConfig, BertModel

    return BertModel(
        BertConfig(
            vocab_size=20,
            hidden_size=8,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=16,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )


class _Bert(TrainingTask[torch.Tensor]):
    def prepare(self) -> None:
        self.model = _tiny_bert()

    def batches(self, epoch: int) -> Iterator[torch.Tensor]:
        yield torch.randint(20, (4, 6), generator=torch.Generator().manual_seed(epoch))

    def loss(self, batch: torch.Tensor) -> StepLoss:
        return StepLoss(self.model(batch).last_hidden_state.pow(2)[:, 0].mean(), 4.0, batch.numel(), 4)


def test_gradient_checkpointing_computes_again_and_changes_nothing() -> None:
    plain, again = _Bert(), _Bert()
    train(plain, CONFIG, seed=1)
    train(again, CONFIG.model_copy(update={"gradient_checkpointing": True}), seed=1)
    assert again.model.is_gradient_checkpointing
    vectors = [parameters_to_vector(task.model.parameters()).detach().numpy() for task in (plain, again)]
    np.testing.assert_allclose(*vectors, atol=1e-6)


def test_a_network_that_cannot_compute_again_says_so() -> None:
    with pytest.raises(TrainingError, match="Sequential cannot compute its activations again"):
        train(Noisy(), CONFIG.model_copy(update={"gradient_checkpointing": True}), seed=1)


@pytest.mark.parametrize("change", [{"learning_rate": 1e30, "clip_norm": 1e30}])
def test_a_diverging_training_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(TrainingError, match=r"diverged: .* in step \d"):
        train(Noisy(), CONFIG.model_copy(update=change), seed=1)


def test_a_validation_that_is_no_number_is_refused() -> None:
    with pytest.raises(TrainingError, match="score is nan after epoch 1"):
        train(Scripted([math.nan]), CONFIG, seed=1)


def test_no_batch_is_refused() -> None:
    with pytest.raises(TrainingError, match="no batch"):
        train(Noisy(sizes=()), CONFIG, seed=1)


def test_progress_is_reported_after_each_epoch() -> None:
    rows: list[dict[str, float]] = []
    train(Noisy(), CONFIG, seed=1, report=lambda row: rows.append(dict(row)))
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert set(rows[0]) == {"epoch", "train_loss", "learning_rate", "validation_loss", "seconds"}


def test_batches_are_moved_with_all_their_tensors() -> None:
    batch = {"ids": torch.ones(1), "pair": (torch.ones(1), ["text"]), "array": np.ones(1)}
    moved = on_device(batch, "meta")
    assert (moved["ids"].device.type, moved["pair"][0].device.type) == ("meta", "meta")
    assert (moved["pair"][1], moved["array"] is batch["array"]) == (["text"], True)


@given(st.integers(1, 500), st.floats(0, 0.99))
def test_the_rate_rises_to_its_peak_and_falls_to_nothing(steps: int, warmup_share: float) -> None:
    rates = [schedule(step, steps, warmup_share) for step in range(steps + 1)]
    peak = int(np.argmax(rates))
    assert rates[peak] == 1.0
    assert np.all(np.diff(rates[: peak + 1]) > 0)
    assert np.all(np.diff(rates[peak:]) <= 0)
    assert min(rates) >= 0
    assert rates[-1] == pytest.approx(0, abs=1e-9) or steps == 1
