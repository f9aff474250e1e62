"""How a tower in training reads the items of a catalogue: their tokens, or the states that its frozen layers left.

Items are positions of a `TrainingSet`. What is learned from the vectors does not belong here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from genre_pipeline.contracts.columns import CONTENT_HASH, ITEM_ID
from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.models.token_batches import lengths_of, padded, rows_by_length
from genre_pipeline.training.layer_cache import LayerCache, LayerStates, Report

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from genre_pipeline.models.tower import ItemTower

_TEXT = "text"


class ItemReading:
    """A catalogue's texts as a tower reads them, batch by batch, vectors of length 1."""

    def __init__(
        self, tower: ItemTower, item_ids: pl.Series, texts: pl.DataFrame, tokens: list[np.ndarray] | LayerStates
    ) -> None:
        self.tower, self.n_items = tower, len(item_ids)
        self.source = tokens
        self.row = _rows(item_ids, texts)
        """int64 [items]: each item's row of what is read, -1 where it has no text."""
        self.lengths = tokens.length if isinstance(tokens, LayerStates) else lengths_of(tokens)

    @classmethod
    def of(
        cls,
        tower: ItemTower,
        item_ids: pl.Series,
        texts: pl.DataFrame,
        *,
        cache: LayerCache | None = None,
        report: Report | None = None,
    ) -> ItemReading:
        """Read `texts` (schema `ItemTexts`) of the items; with `cache`, frozen layers run now, once an item.

        Raises `TrainingError` where no item has a text, `ModelFileError` as `LayerCache.states`.
        """
        from genre_pipeline.models.tower import LayeredTower

        said = pl.DataFrame({ITEM_ID: item_ids}).join(texts, on=ITEM_ID, maintain_order="left").drop_nulls(_TEXT)
        if said.is_empty():
            raise TrainingError("No item has a text", remedy="Give items a title or a description, or train no tower.")
        if cache is not None and isinstance(tower, LayeredTower) and tower.frozen_layers:
            states = cache.states(tower, said[CONTENT_HASH], said[_TEXT], report)
            return cls(tower, item_ids, said, states)
        return cls(tower, item_ids, said, tower.tokenise(said[_TEXT].to_list()))

    def vectors(self, items: np.ndarray, *, budget: int) -> Tensor:
        """float32 [len(items), W] of items that have a text, with gradients, in parts of at most `budget` tokens."""
        import torch

        if not len(items):
            return torch.zeros(0, self.tower.width, device=self.device)
        rows = self.row[items]
        parts = list(rows_by_length(self.lengths[rows], budget))
        order = torch.from_numpy(np.argsort(np.concatenate(parts))).to(self.device)
        return torch.cat([self._read(rows[part]) for part in parts])[order]

    def all_vectors(self, *, budget: int, is_half: bool = False) -> Tensor:
        """float32 [items, W] of the whole catalogue in evaluation mode, without gradients; zeros where no text is.

        `is_half` computes in bfloat16.
        """
        import torch

        was_training = self.tower.training
        self.tower.eval()
        vectors = torch.zeros(self.n_items, self.tower.width, device=self.device)
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=is_half):
            for items in self._longest_first(budget):
                vectors[torch.from_numpy(items).to(self.device)] = self._read(self.row[items])
        self.tower.train(was_training)
        return vectors

    @property
    def has_text(self) -> np.ndarray:
        """bool [items]"""
        return np.asarray(self.row >= 0)

    @property
    def device(self) -> torch.device:
        """Where the tower is."""
        return next(self.tower.parameters()).device

    def tokens_of(self, items: np.ndarray) -> int:
        """Tokens of these items."""
        return int(self.lengths[self.row[items]].sum())

    def _longest_first(self, budget: int) -> Iterator[np.ndarray]:
        items = np.flatnonzero(self.has_text)
        yield from (items[part] for part in rows_by_length(self.lengths[self.row[items]], budget))

    def _read(self, rows: np.ndarray) -> Tensor:
        import torch

        if isinstance(self.source, LayerStates):
            hidden, mask = (part.to(self.device) for part in self.source.take(rows))
            vectors = self.tower.upper(hidden.float(), mask, self.tower.frozen_layers)  # type: ignore[operator]
        else:
            ids, mask = padded([self.source[row] for row in rows], pad=self.tower.pad)  # type: ignore[assignment]
            vectors = self.tower(torch.from_numpy(ids).to(self.device), torch.from_numpy(mask).to(self.device))
        return torch.nn.functional.normalize(vectors.float(), dim=-1)


def _rows(item_ids: pl.Series, texts: pl.DataFrame) -> np.ndarray:
    numbered = texts.select(ITEM_ID).with_row_index("row")
    found = pl.DataFrame({ITEM_ID: item_ids}).join(numbered, on=ITEM_ID, how="left", maintain_order="left")
    return found["row"].cast(pl.Int64).fill_null(-1).to_numpy()
