"""The next-item loss of the sequence network: cross-entropy over the catalogue, or over shared sampled negatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np

from genre_pipeline.training.batches import Histories, Windows

if TYPE_CHECKING:
    from torch import Tensor

    from genre_pipeline.models.sequence import SequenceModel


class NextItemLoss:
    """Weighted mean cross-entropy of the item that came next.

    With `negatives` None every item with an interaction competes (full softmax). Otherwise so many negatives are drawn
    once a step and shared by all its positions (sampled softmax, arXiv 2508.06450): uniformly among the items with an
    interaction, or by popularity with the log-q correction (Bengio and Senécal 2008). A negative that equals a target
    is masked there. `represent` gives distinct items int64 [U] their representations [U, D]; unset, the model does.
    """

    def __init__(
        self,
        model: SequenceModel,
        histories: Histories,
        negatives: int | None,
        sampling: Literal["uniform", "popularity"],
        represent: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        import torch

        self.model, self.negatives = model, negatives
        self.represent = represent or model.items
        device = model.items.has_id.device
        counts = np.bincount(histories.items, minlength=model.n_items).astype(np.float32)
        self.pool = torch.from_numpy(np.flatnonzero(counts)).to(device)  # [P]
        share = torch.from_numpy(counts[counts > 0] / counts.sum()).to(device)
        self.share = share if sampling == "popularity" else None

    def __call__(self, windows: Windows) -> Tensor:
        """Loss of one batch, a scalar."""
        import torch

        parts = (windows.items, windows.lengths, windows.gaps, windows.events, windows.targets, windows.weights)
        device = self.pool.device
        items, lengths, gaps, events, targets, weights = (torch.from_numpy(part).to(device) for part in parts)
        valid = targets >= 0  # [B, L]
        targets, weights = targets[valid], weights[valid]  # [T]
        negatives, log_q = self._drawn()
        wanted, where = torch.unique(torch.cat([items.flatten(), targets, negatives]), return_inverse=True)
        table = self.represent(wanted)  # [U, D]
        of_items, of_targets, of_negatives = where.split([items.numel(), len(targets), len(negatives)])
        inputs = torch.nn.functional.embedding(of_items.view(items.shape), table)  # [B, L, D]
        states = self.model.states(inputs, lengths, gaps, events)[valid]  # [T, D]
        if self.negatives is None:
            losses = self._full(states, table[of_negatives], targets)
        else:
            against = self.model.score(states, table[of_negatives])  # [T, K]
            against = against if log_q is None else against - log_q
            losses = self._sampled(states, table, of_targets, against, targets[:, None] == negatives)
        return (losses * weights).sum() / weights.sum()

    def _drawn(self) -> tuple[Tensor, Tensor | None]:
        """Positions [K] of what targets compete with, and log q of each relative to a uniform draw."""
        import torch

        if self.negatives is None:
            return self.pool, None
        if self.share is None:
            return self.pool[torch.randint(len(self.pool), (self.negatives,), device=self.pool.device)], None
        drawn = torch.multinomial(self.share, self.negatives, replacement=True)
        return self.pool[drawn], torch.log(self.share[drawn] * len(self.pool))

    def _full(self, states: Tensor, table: Tensor, targets: Tensor) -> Tensor:
        import torch

        classes = torch.searchsorted(self.pool, targets)
        return torch.nn.functional.cross_entropy(self.model.score(states, table), classes, reduction="none")

    def _sampled(self, states: Tensor, table: Tensor, of_targets: Tensor, against: Tensor, hits: Tensor) -> Tensor:
        import torch

        right = self.model.score_pairs(states, table[of_targets])  # [T]
        logits = torch.cat([right[:, None], against.masked_fill(hits, -torch.inf)], dim=1)  # [T, 1 + K]
        return torch.logsumexp(logits, dim=1) - right
