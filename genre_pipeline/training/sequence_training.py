"""Training of the user-sequence network: from a `TrainingSet` to the best weights, their curves and what was decided.

The task that `training.loop` trains, and the two ways to train it: judged by validation, and again on more data. Files
and registries do not belong here. torch is imported by the functions that need it, so that reading the configuration
stays cheap.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field

from genre_pipeline.contracts.columns import ITEM_INDEX
from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.models.sequence_config import SequenceConfig
from genre_pipeline.training.batches import Windows, training_batches
from genre_pipeline.training.distributed import DistributedConfig, train_distributed
from genre_pipeline.training.loop import Report, TrainingResult
from genre_pipeline.training.memory import Footprint, network_size
from genre_pipeline.training.sequence_loss import NextItemLoss
from genre_pipeline.training.task import LoopConfig, StepLoss, TrainingTask, decay_groups
from genre_pipeline.training.validation import NDCG, ValidationTarget, data_histories, user_ndcg

if TYPE_CHECKING:
    from genre_pipeline.models.sequence import SequenceModel

VALIDATION_NDCG = "validation_ndcg"


class SequenceTrainingConfig(LoopConfig):
    """How the user-sequence network is trained."""

    network: SequenceConfig = SequenceConfig()
    """The network's shape."""
    content: str | None = "text_llm"
    """Technique whose item vectors join the id embeddings; `null` for ids alone. Items without a vector (all of them,
    where the data has none of this technique) are masked; the decisions say how many had one."""
    epochs: int = Field(default=25, ge=1)
    """Passes over the data at most."""
    max_minutes: float | None = Field(default=30.0, gt=0)
    """Time budget. After the first epoch the plan is cut to the epochs that fit into it; `null` knows no clock."""
    patience: int = Field(default=6, ge=1)
    """Validations without a better nDCG@10 before training stops."""
    validation_users: int = Field(default=5000, ge=1)
    """Users that validation looks at, at most."""
    batch_size: int = Field(default=64, ge=1)
    """Windows in a batch."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """Peak of the schedule: linear warm-up, then cosine to zero at the last planned epoch."""
    full_softmax_below: int = Field(default=1000, ge=0)
    """Catalogues smaller than this use the full softmax, larger ones the sampled one."""
    negatives: int = Field(default=256, ge=1)
    """Negatives of the sampled softmax, shared by all positions of a batch (arXiv 2508.06450)."""
    negative_sampling: Literal["uniform", "popularity"] = "uniform"
    """How negatives are drawn; `popularity` subtracts log q from their scores, so that the softmax stays unbiased."""
    least_events: int = Field(default=20, ge=2)
    """Below this many (interaction, next interaction) pairs there is nothing to learn a network from."""


@dataclass(frozen=True)
class TrainedSequence:
    """A trained network and how it came about."""

    model: SequenceModel
    curves: pl.DataFrame
    """A row an epoch: epoch (Int64), train_loss, learning_rate, validation_ndcg (null where not validated), seconds
    (Float64)."""
    steps: pl.DataFrame
    """A row a step: `STEP_CURVE`."""
    best_epoch: int
    """Epoch, from 1, whose weights were kept: the best on validation, or the last."""
    planned_epochs: int
    """Length of the learning-rate schedule; smaller than configured where the time budget cut it."""
    decisions: Mapping[str, Any]
    """What the training decided or was given; equal for equal runs."""
    peak_gpu_mb: float | None = None
    """Most GPU memory held by tensors; None on a CPU."""


def train_sequence(
    data: TrainingSet,
    config: SequenceTrainingConfig,
    *,
    seed: int,
    device: str = "cpu",
    validation: ValidationTarget | None = None,
    checkpoints: Path | None = None,
    report: Report | None = None,
    clock: Callable[[], float] = time.monotonic,
    distributed: DistributedConfig = DistributedConfig(),  # noqa: B008 - frozen
) -> TrainedSequence:
    """Train on `data`; with `validation`, keep the epoch of the best nDCG@10 and stop when it no longer rises.

    Without validation all planned epochs are trained. With `checkpoints`, a folder, it goes on from where it was
    killed. Raises `TrainingError` where there is too little history, or the loss is no longer a
    number.
    """
    target = None if validation is None else validation.first_users(config.validation_users, seed)
    make_task = partial(SequenceTask, data, config, seed=seed, target=target)
    return _trained(
        *train_distributed(
            make_task, config, distributed,
            seed=seed, device=device, checkpoints=checkpoints, report=report, clock=clock,
        )
    )  # fmt: skip


def refit_sequence(
    data: TrainingSet,
    config: SequenceTrainingConfig,
    plan: tuple[int, int],
    *,
    seed: int,
    device: str = "cpu",
    checkpoints: Path | None = None,
    report: Report | None = None,
    clock: Callable[[], float] = time.monotonic,
    distributed: DistributedConfig = DistributedConfig(),  # noqa: B008 - frozen
) -> TrainedSequence:
    """Train on more data as long as validation found best: `plan` is (planned epochs, best epoch) of that training.

    The schedule is the same one, stopped where it was best. No clock decides anything here.
    """
    planned = config.model_copy(update={"epochs": plan[0], "max_minutes": None})
    make_task = partial(SequenceTask, data, planned, seed=seed)
    return _trained(
        *train_distributed(
            make_task, planned, distributed,
            seed=seed, device=device, checkpoints=checkpoints, report=report, clock=clock, last_epoch=plan[1],
        )
    )  # fmt: skip


class SequenceTask(TrainingTask[Windows]):
    """The next item of windows of user histories; validated, where there is a target, by nDCG@10."""

    decides: ClassVar[str | None] = VALIDATION_NDCG
    model: SequenceModel

    def __init__(
        self,
        data: TrainingSet,
        config: SequenceTrainingConfig,
        *,
        seed: int,
        target: ValidationTarget | None = None,
    ) -> None:
        self.data, self.config, self.seed, self.target = data, config, seed, target
        self.histories = data_histories(data, event_types_of(data, config.network))
        pairs = int(np.maximum(self.histories.lengths - 1, 0).sum())
        if pairs < config.least_events:
            raise TrainingError(
                f"The histories hold {pairs} pairs of an interaction and the next, of {config.least_events} needed",
                remedy="Give more history, lower `least_events`, or leave the sequential recommender out.",
            )

    @property
    def negatives(self) -> int | None:
        """Negatives of the sampled softmax; None for the full one."""
        return None if self.data.n_items < self.config.full_softmax_below else self.config.negatives

    @cached_property
    def next_item_loss(self) -> NextItemLoss:
        """Made at the first step, when the network is on its device."""
        return NextItemLoss(self.model, self.histories, self.negatives, self.config.negative_sampling)

    def prepare(self) -> None:
        """Draw the first weights."""
        self.model = new_model(self.data, self.config)

    def batches(self, epoch: int) -> Iterator[Windows]:
        """Windows cut at a shift of the epoch's own."""
        seed = int(np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0])
        return training_batches(self.histories, self.config.network.length, self.config.batch_size, seed)

    def loss(self, batch: Windows) -> StepLoss:
        """Cross-entropy of the items that came next."""
        weight, tokens = float(batch.weights.sum()), int(batch.lengths.sum())
        return StepLoss(self.next_item_loss(batch), weight, tokens, len(batch.lengths))

    def validate(self) -> Mapping[str, float]:
        """nDCG@10 over the unseen candidates."""
        if self.target is None:
            return {}
        ndcg = user_ndcg(self.model, self.data, self.target)[NDCG]
        return {VALIDATION_NDCG: float(ndcg.mean())}  # type: ignore[arg-type]

    def parameter_groups(self, config: LoopConfig) -> list[dict[str, Any]]:
        """A second moment that follows a little faster than AdamW's own, as Transformers like it."""
        return [{**group, "betas": (0.9, 0.98)} for group in decay_groups(self.model, config.weight_decay)]

    def checkpoint_gradients(self) -> None:
        """Each block is computed again."""
        self.model.computes_again = True

    def footprint(self) -> Footprint:
        """Windows of the network's whole length; the scores of all that competes count as a vocabulary."""
        network, competing = self.config.network, self.negatives or self.data.n_items
        size = network_size(
            self.model, layers=network.blocks, width=network.width, inner_width=network.expansion * network.width,
            vocabulary=competing,
        )  # fmt: skip
        return Footprint(size, self.config.batch_size, network.length)

    def fingerprint(self) -> str:
        """The network, its histories and contents, and its validation pairs."""
        kept = self.histories
        content = content_of(self.data, self.config.content)
        arrays = [kept.items, kept.gaps, kept.events, kept.weights, kept.offsets, content]
        if self.target is not None:
            arrays += [self.target.users, self.target.items]
        digest = hashlib.sha256()
        for array in arrays:
            digest.update(array.tobytes())
        return f"{super().fingerprint()} {digest.hexdigest()}"


def new_model(data: TrainingSet, config: SequenceTrainingConfig) -> SequenceModel:
    """An untrained network over the catalogue of `data`; initial weights come from torch's global seed."""
    import torch

    from genre_pipeline.models.sequence import SequenceModel

    has_id = np.zeros(data.n_items, dtype=bool)
    if config.network.ids:
        has_id[np.unique(data.events[ITEM_INDEX].to_numpy())] = True
    return SequenceModel(
        config.network,
        content=torch.from_numpy(content_of(data, config.content)),
        has_id=torch.from_numpy(has_id),
        event_types=event_types_of(data, config.network),
    )


def event_types_of(data: TrainingSet, network: SequenceConfig) -> tuple[str, ...]:
    """The event types that a network on `data` tells apart; none where there is one only."""
    return data.event_types if network.event_types and len(data.event_types) > 1 else ()


def content_of(data: TrainingSet, technique: str | None) -> np.ndarray:
    """float32 [n_items, C]; C is 0 where the data has no vectors of this technique."""
    none = np.zeros((data.n_items, 0), dtype=np.float32)
    return none if technique is None else data.item_vectors.get(technique, none)


def _trained(task: SequenceTask, result: TrainingResult) -> TrainedSequence:
    curves = result.epochs
    if VALIDATION_NDCG not in curves.columns:
        curves = curves.with_columns(pl.lit(None, pl.Float64).alias(VALIDATION_NDCG))
    curves = curves.select("epoch", "train_loss", "learning_rate", VALIDATION_NDCG, "seconds")
    return TrainedSequence(
        task.model,
        curves,
        result.curves,
        result.best_epoch,
        result.planned_epochs,
        _decisions(task, result, curves[VALIDATION_NDCG][result.best_epoch - 1]),
        result.peak_gpu_mb,
    )


def _decisions(task: SequenceTask, result: TrainingResult, ndcg: float | None) -> dict[str, Any]:
    data, content = task.data, content_of(task.data, task.config.content)
    return {
        "seed": task.seed,
        "best_epoch": result.best_epoch,
        "planned_epochs": result.planned_epochs,
        "validation_ndcg": ndcg,
        "validation_users": 0 if task.target is None else len(np.unique(task.target.users)),
        "softmax": "full" if task.negatives is None else f"sampled {task.negatives}",
        "content": task.config.content,
        "content_items": int((content != 0).any(axis=1).sum()),
        "users": data.n_users,
        "items": data.n_items,
        "events": data.events.height,
        "as_of": data.as_of.isoformat(),
    }
