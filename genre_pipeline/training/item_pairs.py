"""Item pairs for an item tower: two views of one item, and items that the same users take one after the other.

In a batch every pair's other half competes with all the others' (in-batch negatives, InfoNCE; van den Oord et al. 2018,
arXiv 1807.03748). Views are texts changed on purpose; who changes them is passed in, for this room does not know how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.models.token_batches import padded
from genre_pipeline.training.batches import Histories
from genre_pipeline.training.task import StepLoss, TrainingTask
from genre_pipeline.training.tower_config import ItemPairsConfig

if TYPE_CHECKING:
    from genre_pipeline.models.tower import ItemTower

View = Callable[[np.ndarray, int], Sequence[str]]
"""(positions int64 [n], seed) to the texts of these items, each changed a little."""
RECALL = "validation_recall"


class PairBatch(NamedTuple):
    """B pairs, tokens padded at the end; on the device of the network when the loss sees them."""

    left: Tensor
    """int64 [B, T]"""
    left_mask: Tensor
    right: Tensor
    """int64 [B, S]"""
    right_mask: Tensor
    items: Tensor
    """int64 [B, 2]: which items they are, so that an equal one is no wrong answer."""


class ItemPairsTask(TrainingTask[PairBatch]):
    """Find each item's other half in the batch.

    `texts` by position, None where there is none; `pairs` int64 [pairs, 2] as `consecutive_pairs` gives them.
    """

    decides: ClassVar[str | None] = RECALL
    model: ItemTower

    def __init__(
        self,
        tower: ItemTower,
        texts: Sequence[str | None],
        pairs: np.ndarray,
        config: ItemPairsConfig,
        *,
        seed: int,
        view: View | None = None,
        held_out: np.ndarray | None = None,
    ) -> None:
        self.model, self.config, self.seed = tower, config, seed
        self.texts = said = np.array([text or "" for text in texts], dtype=object)
        self.view: View = view or (lambda items, _seed: said[items].tolist())
        has_text = np.array([bool(text) for text in texts])
        self.pairs, self.known = pairs[has_text[pairs].all(axis=1)], np.flatnonzero(has_text)
        self.held_out = None if held_out is None else held_out[has_text[held_out].all(axis=1)][: config.batch_size]
        if len(self.known) < 2 or (len(self.pairs) < 2 and config.views_share < 1):
            raise TrainingError(
                f"There are {len(self.pairs)} pairs of items with a text",
                remedy="Give more history, or `views_share: 1` to learn from views alone.",
            )

    def batches(self, epoch: int) -> Iterator[PairBatch]:
        """As many pairs as there are of both kinds, in an order of the epoch's own, views drawn anew."""
        random = np.random.default_rng([self.seed, epoch])
        pairs = self._mixed(random)
        for start in range(0, len(pairs) - 1, self.config.batch_size):
            yield self._batch(pairs[start : start + self.config.batch_size], int(random.integers(2**31)))

    def batch_count(self) -> int:
        """Counted without reading a text."""
        pairs = len(self._mixed(np.random.default_rng([self.seed, 0])))
        return len(range(0, pairs - 1, self.config.batch_size))

    def loss(self, batch: PairBatch) -> StepLoss:
        """InfoNCE in both directions."""
        scores = self._scores(batch) / self.config.temperature  # [B, B]
        right = torch.arange(len(scores), device=scores.device)
        loss = (functional.cross_entropy(scores, right) + functional.cross_entropy(scores.T, right)) / 2
        tokens = int(batch.left_mask.sum() + batch.right_mask.sum())
        return StepLoss(loss, float(len(scores)), tokens, len(scores))

    def validate(self) -> Mapping[str, float]:
        """How often the right half of a held-out pair is the nearest of its batch."""
        if self.held_out is None or len(self.held_out) < 2:
            return {}
        self.model.eval()
        device = next(self.model.parameters()).device
        with torch.no_grad():
            batch = PairBatch(*(part.to(device) for part in self._batch(self.held_out, self.seed)))
            nearest = self._scores(batch).argmax(dim=1)  # [B]
        return {RECALL: float((nearest == torch.arange(len(nearest), device=device)).float().mean())}

    def _mixed(self, random: np.random.Generator) -> np.ndarray:
        """int64 [pairs, 2], shuffled: views are pairs of an item with itself."""
        share = self.config.views_share
        views = np.repeat(self.known[:, None], 2, axis=1)
        if share == 1:
            return random.permutation(views)
        taken = random.permutation(self.pairs)
        wanted = int(len(taken) * share / (1 - share))
        return random.permutation(np.concatenate([taken, views[random.integers(len(views), size=wanted)]]))

    def _batch(self, pairs: np.ndarray, seed: int) -> PairBatch:
        left, right = (self._tokens(pairs[:, side], seed + side) for side in (0, 1))
        return PairBatch(*left, *right, torch.from_numpy(pairs))

    def _tokens(self, items: np.ndarray, seed: int) -> tuple[Tensor, Tensor]:
        ids, mask = padded(self.model.tokenise(self.view(items, seed)), pad=self.model.pad)
        return torch.from_numpy(ids), torch.from_numpy(mask)

    def _scores(self, batch: PairBatch) -> Tensor:
        """Cosines [B, B] of left and right halves; what is no wrong answer, the same item again, is out."""
        left = functional.normalize(self.model(batch.left, batch.left_mask), dim=-1)  # [B, W]
        right = functional.normalize(self.model(batch.right, batch.right_mask), dim=-1)  # [B, W]
        scores: Tensor = left @ right.T
        alone: Tensor = scores.masked_fill(_not_wrong(batch.items), -1e4)
        return alone


def consecutive_pairs(histories: Histories) -> np.ndarray:
    """int64 [pairs, 2]: each item and the one its user took next, each pair of different items once."""
    following = np.ones(len(histories.items), dtype=bool)
    following[histories.offsets[1:][np.diff(histories.offsets) > 0] - 1] = False
    places = np.flatnonzero(following)
    pairs = np.stack([histories.items[places], histories.items[places + 1]], axis=1)
    return np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)


def _not_wrong(items: Tensor) -> Tensor:
    """bool [B, B]: off the diagonal, the other side's item is one of this pair's own."""
    left, right = items.T  # [B] each
    same = (right[None, :] == right[:, None]) | (right[None, :] == left[:, None]) | (left[None, :] == left[:, None])
    return torch.logical_and(same, ~torch.eye(len(items), dtype=torch.bool, device=items.device))
