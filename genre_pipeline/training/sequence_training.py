"""The one training loop of the user-sequence network: from a `TrainingSet` to the best weights and their curves.

The same data, configuration and seed give the same weights, bit by bit, on one machine's CPU. Files and registries do
not belong here. torch is imported by the functions that need it, so that reading the configuration stays cheap.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
from pydantic import Field

from genre_pipeline.contracts.columns import ITEM_INDEX
from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.models.sequence_config import SequenceConfig
from genre_pipeline.training.batches import Windows, training_batches
from genre_pipeline.training.sequence_loss import NextItemLoss
from genre_pipeline.training.validation import NDCG, ValidationTarget, data_histories, user_ndcg

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from genre_pipeline.models.sequence import SequenceModel

Report = Callable[[Mapping[str, float]], None]
"""Progress: one row of the curves after each epoch."""


class SequenceTrainingConfig(Settings):
    """How the user-sequence network is trained."""

    network: SequenceConfig = SequenceConfig()
    """The network's shape."""
    content: str | None = "text_llm"
    """Technique whose item vectors join the id embeddings; `null` for ids alone. Items without a vector (all of them,
    where the data has none of this technique) are masked; the decisions say how many had one."""
    epochs: int = Field(default=25, ge=1)
    """Passes over the data at most."""
    max_minutes: float = Field(default=30.0, gt=0)
    """Time budget. After the first epoch the plan is cut to the epochs that fit into it."""
    patience: int = Field(default=6, ge=1)
    """Validations without a better nDCG@10 before training stops."""
    validate_every: int = Field(default=1, ge=1)
    """Epochs from one validation to the next."""
    validation_users: int = Field(default=5000, ge=1)
    """Users that validation looks at, at most."""
    batch_size: int = Field(default=64, ge=1)
    """Windows in a step."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """Peak of the schedule: linear warm-up, then cosine to zero at the last planned epoch."""
    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps spent warming up."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decay of weight matrices; embeddings, biases and norms are left alone."""
    clip_norm: float = Field(default=5.0, gt=0)
    """Gradients are scaled down to this norm."""
    full_softmax_below: int = Field(default=1000, ge=0)
    """Catalogues smaller than this use the full softmax, larger ones the sampled one."""
    negatives: int = Field(default=256, ge=1)
    """Negatives of the sampled softmax, shared by all positions of a step (arXiv 2508.06450)."""
    negative_sampling: Literal["uniform", "popularity"] = "uniform"
    """How negatives are drawn; `popularity` subtracts log q from their scores, so that the softmax stays unbiased."""
    least_events: int = Field(default=20, ge=2)
    """Below this many (interaction, next interaction) pairs there is nothing to learn a network from."""


@dataclass(frozen=True)
class TrainedSequence:
    """A trained network and how it came about."""

    model: SequenceModel
    curves: pl.DataFrame
    """epoch (Int64), train_loss, learning_rate, validation_ndcg (null where not validated), seconds (Float64)."""
    best_epoch: int
    """Epoch, from 1, whose weights were kept: the best on validation, or the last."""
    planned_epochs: int
    """Length of the learning-rate schedule; smaller than configured where the time budget cut it."""
    decisions: Mapping[str, Any]
    """What the training decided or was given; equal for equal runs."""


def train_sequence(
    data: TrainingSet,
    config: SequenceTrainingConfig,
    *,
    seed: int,
    device: str = "cpu",
    validation: ValidationTarget | None = None,
    report: Report | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> TrainedSequence:
    """Train on `data`; with `validation`, keep the epoch of the best nDCG@10 and stop when it no longer rises.

    Without validation all planned epochs are trained. Raises `TrainingError` where there is too little history, or
    the loss is no longer a number.
    """
    return _Training(data, config, seed, device, clock).run(validation, report, plan=None)


def refit_sequence(
    data: TrainingSet,
    config: SequenceTrainingConfig,
    plan: tuple[int, int],
    *,
    seed: int,
    device: str = "cpu",
    report: Report | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> TrainedSequence:
    """Train on more data as long as validation found best: `plan` is (planned epochs, best epoch) of that training.

    The schedule is the same one, stopped where it was best. No clock decides anything here.
    """
    return _Training(data, config, seed, device, clock).run(None, report, plan=plan)


def new_model(data: TrainingSet, config: SequenceTrainingConfig) -> SequenceModel:
    """An untrained network over the catalogue of `data`; initial weights come from torch's global seed."""
    import torch

    from genre_pipeline.models.sequence import SequenceModel

    has_id = np.zeros(data.n_items, dtype=bool)
    has_id[np.unique(data.events[ITEM_INDEX].to_numpy())] = True
    return SequenceModel(
        config.network, content=torch.from_numpy(content_of(data, config.content)), has_id=torch.from_numpy(has_id)
    )


def content_of(data: TrainingSet, technique: str | None) -> np.ndarray:
    """float32 [n_items, C]; C is 0 where the data has no vectors of this technique."""
    none = np.zeros((data.n_items, 0), dtype=np.float32)
    return none if technique is None else data.item_vectors.get(technique, none)


class _Training:
    """The state of one training: network, optimiser, curves."""

    def __init__(
        self, data: TrainingSet, config: SequenceTrainingConfig, seed: int, device: str, clock: Callable[[], float]
    ) -> None:
        self.data, self.config, self.seed, self.device, self.clock = data, config, seed, device, clock
        self.histories = data_histories(data)
        pairs = int(np.maximum(self.histories.lengths - 1, 0).sum())
        if pairs < config.least_events:
            raise TrainingError(
                f"The histories hold {pairs} pairs of an interaction and the next, of {config.least_events} needed",
                remedy="Give more history, lower `least_events`, or leave the sequential recommender out.",
            )
        self.rows: list[dict[str, float | None]] = []
        self.planned = config.epochs

    def run(
        self, validation: ValidationTarget | None, report: Report | None, plan: tuple[int, int] | None
    ) -> TrainedSequence:
        import torch

        with torch.random.fork_rng(devices=_cuda_devices(self.device)), _one_thread(self.device):
            torch.manual_seed(self.seed)
            self._prepare(plan)
            target = None if validation is None else validation.first_users(self.config.validation_users, self.seed)
            best_epoch = self._epochs(target, report, plan)
        return TrainedSequence(
            self.model.cpu().eval(), self._curves(), best_epoch, self.planned, self._decisions(best_epoch, target)
        )

    def _prepare(self, plan: tuple[int, int] | None) -> None:
        self.planned = plan[0] if plan else self.config.epochs
        self.model = new_model(self.data, self.config).to(self.device)
        self.loss = NextItemLoss(self.model, self.histories, self._negatives(), self.config.negative_sampling)
        self.optimiser = _optimiser(self.model, self.config)
        self.steps_an_epoch = sum(1 for _ in self._batches(0))
        self.step = 0

    def _negatives(self) -> int | None:
        return None if self.data.n_items < self.config.full_softmax_below else self.config.negatives

    def _epochs(self, target: ValidationTarget | None, report: Report | None, plan: tuple[int, int] | None) -> int:
        best, best_epoch, weights = -math.inf, 0, None
        started, epoch, stop = self.clock(), 0, plan[1] if plan else None
        while epoch < (stop or self.planned):
            epoch += 1
            row = self._epoch(epoch, target)
            row["seconds"] = self.clock() - started
            self.rows.append(row)
            if report is not None:
                report({name: value for name, value in row.items() if value is not None})
            if epoch == 1 and plan is None:
                self.planned = _affordable(self.config, row["seconds"])
            ndcg = row["validation_ndcg"]
            if ndcg is not None and ndcg > best:
                best, best_epoch, weights = ndcg, epoch, _copied(self.model)
            waited = (epoch - best_epoch) // self.config.validate_every
            if target is not None and weights is not None and waited >= self.config.patience:
                break
        if weights is not None:
            self.model.load_state_dict(weights)
        return best_epoch or epoch

    def _epoch(self, epoch: int, target: ValidationTarget | None) -> dict[str, float | None]:
        self.model.train()
        total, weight, rate = 0.0, 0.0, 0.0
        for windows in self._batches(epoch):
            rate, share = self._learning_rate(), float(windows.weights.sum())
            total, weight = total + self._step(windows, rate) * share, weight + share
        is_due = target is not None and (epoch % self.config.validate_every == 0 or epoch == self.planned)
        ndcg = float(user_ndcg(self.model, self.data, target)[NDCG].mean()) if is_due else None  # type: ignore[arg-type]
        return {"epoch": epoch, "train_loss": total / weight, "learning_rate": rate, "validation_ndcg": ndcg}

    def _step(self, windows: Windows, rate: float) -> float:
        import torch

        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss = self.loss(windows)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimiser.step()
        self.step += 1
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f"Training diverged: the loss is {value} in step {self.step}", remedy="Lower `learning_rate`."
            )
        return value

    def _learning_rate(self) -> float:
        steps = self.steps_an_epoch * self.planned
        warmup = max(1, int(steps * self.config.warmup_share))
        if self.step < warmup:
            return self.config.learning_rate * (self.step + 1) / warmup
        progress = min(1.0, (self.step - warmup) / max(1, steps - warmup))
        return self.config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))

    def _batches(self, epoch: int) -> Iterator[Windows]:
        seed = int(np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0])
        return training_batches(self.histories, self.config.network.length, self.config.batch_size, seed)

    def _curves(self) -> pl.DataFrame:
        floats = dict.fromkeys(("train_loss", "learning_rate", "validation_ndcg", "seconds"), pl.Float64)
        return pl.DataFrame(self.rows, schema={"epoch": pl.Int64, **floats})

    def _decisions(self, best_epoch: int, target: ValidationTarget | None) -> dict[str, Any]:
        content = content_of(self.data, self.config.content)
        return {
            "seed": self.seed,
            "best_epoch": best_epoch,
            "planned_epochs": self.planned,
            "validation_ndcg": self.rows[best_epoch - 1]["validation_ndcg"],
            "validation_users": 0 if target is None else len(np.unique(target.users)),
            "softmax": "full" if self._negatives() is None else f"sampled {self._negatives()}",
            "content": self.config.content,
            "content_items": int((content != 0).any(axis=1).sum()),
            "users": self.data.n_users,
            "items": self.data.n_items,
            "events": self.data.events.height,
            "as_of": self.data.as_of.isoformat(),
        }


def _affordable(config: SequenceTrainingConfig, seconds_an_epoch: float | None) -> int:
    fits = int(config.max_minutes * 60 / max(seconds_an_epoch or 0.0, 1e-6))
    return max(1, min(config.epochs, fits))


def _optimiser(model: SequenceModel, config: SequenceTrainingConfig) -> torch.optim.AdamW:
    import torch

    embeddings = {model.items.ids.weight, model.positions.weight, *([] if model.gaps is None else [model.gaps.weight])}
    decayed = [weight for weight in model.parameters() if weight.ndim > 1 and weight not in embeddings]
    others = [weight for weight in model.parameters() if weight.ndim <= 1 or weight in embeddings]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)


def _copied(model: SequenceModel) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


@contextmanager
def _one_thread(device: str) -> Iterator[None]:
    """Hold torch to one thread on a CPU: several add in the order they finish, and no two trainings end alike.

    At the width of these networks a second thread saves nothing.
    """
    import torch

    before = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cuda_devices(device: str) -> list[int]:
    import torch

    if not device.startswith("cuda"):
        return []
    return [torch.device(device).index or 0]
