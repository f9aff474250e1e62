"""What every item tower is: text in, one vector an item out. The contract of `bert_tower`, `gpt_tower` and `lstm`.

Shapes: B texts, T tokens (padded at the end), H a hidden state's width, W the tower's width. How a tower is trained,
cached or stored does not belong here.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from genre_pipeline.models.token_batches import lengths_of, padded, rows_by_length
from genre_pipeline.models.tower_config import Pooling, TowerConfig

__all__ = ["ItemTower", "LayeredTower", "TowerConfig", "encode_tokens", "pooled"]


class ItemTower(nn.Module, ABC):
    """A network from an item's text to a vector.

    Parameters that `config.fine_tune` leaves out have `requires_grad` False from the beginning, and what is frozen
    stays in evaluation mode whatever `train` says, so that a frozen layer gives the same state every time.
    """

    config: TowerConfig
    pad: int = 0
    """The token that fills the end of a batch's shorter texts."""

    @classmethod
    @abstractmethod
    def blank(cls, config: TowerConfig, files: Mapping[str, bytes], identity: str) -> Self:
        """The tower that `files()` describes, its weights yet to be loaded. Raises `ModelFileError`."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Dimensions of the vector."""

    @property
    @abstractmethod
    def layers(self) -> int:
        """Stacked layers of the network."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """What the first weights and the tokens are, never a path: equal identities give equal frozen states."""

    @abstractmethod
    def tokenise(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids int64 of each text, cut at `config.max_tokens`, at least one each."""

    @abstractmethod
    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Tokens int64 [B, T] and mask bool [B, T], True where a token is -> float32 [B, W], not normalised."""

    @abstractmethod
    def files(self) -> Mapping[str, bytes]:
        """What a bundle needs beside weights and configuration to build this tower again: tokenizer, `backbone.json`,
        `vocabulary.json`; names as `training.bundle` allows them.
        """


class LayeredTower(ItemTower):
    """A tower of layers that can be cut in two: the lower ones computed once an item, the upper ones trained."""

    @abstractmethod
    def lower(self, tokens: Tensor, mask: Tensor, keep: int) -> Tensor:
        """States after the first `keep` layers, without gradients: [B, T], [B, T] -> [B, T, H]."""

    @abstractmethod
    def upper(self, hidden: Tensor, mask: Tensor, keep: int) -> Tensor:
        """The layers after the first `keep`, pooled: [B, T, H], [B, T] -> float32 [B, W].

        `upper(lower(tokens, mask, keep), mask, keep)` is `forward(tokens, mask)`.
        """

    @property
    def frozen_layers(self) -> int:
        """How many lower layers are computed once an item; 0 where all are trained."""
        return max(0, self.layers - self.config.top_layers) if self.config.fine_tune == "top_layers" else 0


def pooled(states: Tensor, mask: Tensor, how: Pooling) -> Tensor:
    """States [B, T, H] and mask bool [B, T], padding at the end -> float32 [B, H]; [B, 2H] by `max_mean`."""
    states = states.float()
    if how == "first":
        return states[:, 0]
    if how == "last":
        return states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
    weight = mask.unsqueeze(-1)  # [B, T, 1]
    if how == "mean":
        return (states * weight).sum(1) / weight.sum(1)
    largest = states.masked_fill(~weight, -torch.inf).amax(1)
    return largest if how == "max" else torch.cat([largest, pooled(states, mask, "mean")], dim=1)


@torch.inference_mode()
def encode_tokens(tower: ItemTower, tokens: Sequence[np.ndarray], *, budget: int = 4096) -> np.ndarray:
    """float32 [texts, W] in evaluation mode, on the tower's device, in batches of at most `budget` tokens.

    Longest texts first, so that little is spent on padding. The tower is left in the mode it was found in.
    """
    was_training, device = tower.training, next(tower.parameters()).device
    tower.eval()
    vectors = np.zeros((len(tokens), tower.width), dtype=np.float32)
    for rows in rows_by_length(lengths_of(tokens), budget):
        ids, mask = padded([tokens[row] for row in rows], pad=tower.pad)
        vectors[rows] = tower(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)).float().cpu().numpy()
    tower.train(was_training)
    return vectors
