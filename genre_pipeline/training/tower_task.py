"""The task of an item tower and a user tower that learn together: which item comes next.

Every item's latest vector lies in a table. A step reads a bounded number of its distinct items anew, targets, negatives
and history alike, and only through these do gradients reach the tower; the others are read from the table as they were
left, as in a memory bank (Wu et al. 2018, arXiv 1805.01978). What is read is written back at once, and each validation
reads the whole catalogue, so that no vector is older than an epoch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from genre_pipeline.training.batches import Windows
from genre_pipeline.training.item_reading import ItemReading
from genre_pipeline.training.memory import Footprint
from genre_pipeline.training.sequence_loss import NextItemLoss
from genre_pipeline.training.sequence_training import VALIDATION_NDCG, SequenceTask
from genre_pipeline.training.task import LoopConfig, StepLoss, TrainingTask, decay_groups
from genre_pipeline.training.tower_config import TowerTrainingConfig
from genre_pipeline.training.tower_memory import text_footprint

if TYPE_CHECKING:
    from genre_pipeline.models.sequence import SequenceModel
    from genre_pipeline.models.tower import ItemTower


class TowerNetwork(nn.Module):
    """Both towers; the item table lies in the user tower, as its content."""

    def __init__(self, tower: ItemTower, users: SequenceModel) -> None:
        super().__init__()
        self.tower, self.users = tower, users


class TowerTask(TrainingTask[Windows]):
    """The next item of windows of user histories, with a tower that learns, or one that stands still."""

    decides: ClassVar[str | None] = VALIDATION_NDCG
    model: TowerNetwork

    def __init__(
        self,
        sequence: SequenceTask,
        reading: ItemReading,
        users: SequenceModel,
        config: TowerTrainingConfig,
        *,
        learns: bool = True,
    ) -> None:
        self.sequence, self.reading, self.config, self.learns = sequence, reading, config, learns
        self.model = TowerNetwork(reading.tower, users)
        self.tokens_read = 0

    @cached_property
    def next_item_loss(self) -> NextItemLoss:
        """Made at the first step, when the network is on its device."""
        users, sequence = self.model.users, self.sequence
        sampling = self.config.negative_sampling
        return NextItemLoss(users, sequence.histories, sequence.negatives, sampling, self._represent)

    @cached_property
    def has_text(self) -> Tensor:
        """bool [items], on the device."""
        return torch.from_numpy(self.reading.has_text).to(self.model.users.items.content.device)

    def batches(self, epoch: int) -> Iterator[Windows]:
        """Windows cut at a shift of the epoch's own."""
        return self.sequence.batches(epoch)

    def loss(self, batch: Windows) -> StepLoss:
        """Cross-entropy of the items that came next."""
        self.tokens_read = 0
        loss = self.next_item_loss(batch)
        tokens = self.tokens_read + int(batch.lengths.sum())
        return StepLoss(loss, float(batch.weights.sum()), tokens, len(batch.lengths))

    def validate(self) -> Mapping[str, float]:
        """nDCG@10 over the unseen candidates, after the whole catalogue was read again."""
        if self.learns:
            self.refresh()
        self.sequence.model = self.model.users
        return self.sequence.validate()

    def refresh(self) -> None:
        """Read the whole catalogue into the table."""
        is_half = self.config.precision == "bfloat16"
        vectors = self.reading.all_vectors(budget=self.config.tokens_per_batch, is_half=is_half)
        self.model.users.items.content.copy_(vectors)

    def parameter_groups(self, config: LoopConfig) -> list[dict[str, Any]]:
        """The tower at the configured rate, the user tower at its own."""
        scale = self.config.user_learning_rate / config.learning_rate
        users = [{**group, "lr_scale": scale} for group in decay_groups(self.model.users, config.weight_decay)]
        return [*decay_groups(self.model.tower, config.weight_decay), *users] if self.learns else users

    def footprint(self) -> Footprint | None:
        """Of the items that a step reads anew; beside them the user tower is small."""
        return text_footprint(self.model.tower, self.config.fresh_items) if self.learns else None

    def fingerprint(self) -> str:
        """The sequence task's, the tower, and whether it learns."""
        reading = hashlib.sha256(self.reading.lengths.tobytes() + self.reading.row.tobytes()).hexdigest()
        self.sequence.model = self.model.users
        return f"{self.sequence.fingerprint()} {self.reading.tower.identity} {reading} {self.learns}"

    def _represent(self, wanted: Tensor) -> Tensor:
        """Representations [U, D] of distinct items int64 [U], a bounded number of them read anew."""
        table = self.model.users.items.content
        content = table[wanted]  # [U, W]
        if self.learns:
            fresh = self._drawn(wanted)  # [F] places in `wanted`
            items = wanted[fresh].cpu().numpy()
            vectors = self.reading.vectors(items, budget=self.config.tokens_per_batch)  # [F, W]
            content = content.index_copy(0, fresh, vectors)
            table[wanted[fresh]] = vectors.detach()
            self.tokens_read += self.reading.tokens_of(items)
        return self.model.users.items(wanted, content)  # type: ignore[no-any-return]

    def _drawn(self, wanted: Tensor) -> Tensor:
        places = torch.nonzero(self.has_text[wanted]).squeeze(-1)
        if len(places) <= self.config.fresh_items:
            return places
        order = torch.randperm(len(places), device=places.device)
        return places[order[: self.config.fresh_items]].sort().values
