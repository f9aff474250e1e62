"""The layer cache: frozen lower layers run once an item, the layers above train from what they left (arXiv 2305.06566).

On disk, `<folder>/<sha256 of tower, layer and dtype>/<sha256 of its manifest>/`: a block of items, their states laid
end to end without padding in one array that is memory-mapped. A block is written aside and renamed into place, so that
a killed run keeps every block it finished; one that does not match its digests is set aside and computed again.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from genre_pipeline.contracts.columns import CONTENT_HASH
from genre_pipeline.contracts.durable import sha256_of, sync
from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.models.token_batches import lengths_of, padded, rows_by_length

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from genre_pipeline.models.tower import LayeredTower

Report = Callable[[int, int], None]
"""Called with (done, total) texts."""
StateDtype = Literal["float16", "bfloat16"]

_STATES, _ROWS, _MANIFEST = "states.npy", "rows.parquet", "manifest.json"
_BLOCK_TOKENS = 65_536
_BATCH_TOKENS = 4096
_RESIDENT_BYTES = 64 * 2**20
_PAGES_AN_ITEM = 64 * 1024
"""The kernel maps this much around what is touched."""


class LayerCache:
    """Hidden states by content hash, tower and layer, in one folder. Safe for several processes at once."""

    def __init__(self, folder: Path, *, dtype: StateDtype = "float16") -> None:
        self.folder, self.dtype = Path(folder), dtype

    def states(
        self, tower: LayeredTower, content_hashes: pl.Series, texts: pl.Series, report: Report | None = None
    ) -> LayerStates:
        """The states of every text after the tower's frozen layers; what is not held yet is computed and kept now.

        `texts` String without nulls, beside their content hashes; row i of the result is text i. Memory is bounded by a
        block, whatever the number of texts. Raises `ModelFileError` where a state is not finite in this dtype.
        """
        folder = self._folder(tower)
        _verify(folder)
        distinct = pl.DataFrame({CONTENT_HASH: content_hashes, "text": texts}).unique(CONTENT_HASH)
        held = _rows(folder)
        new = distinct.join(held, on=CONTENT_HASH, how="anti")
        new = new.sort(pl.col("text").str.len_bytes(), CONTENT_HASH, descending=[True, False])
        done, size = 0, max(1, _BLOCK_TOKENS // tower.config.max_tokens)
        for part in new.iter_slices(size):
            self._write(folder, part[CONTENT_HASH], *self._computed(tower, part["text"].to_list()))
            done += part.height
            if report is not None:
                report(done, new.height)
        return _opened(folder, content_hashes, self.dtype)

    def _folder(self, tower: LayeredTower) -> Path:
        key = f"{tower.identity}/{tower.frozen_layers}/{self.dtype}"
        return self.folder / hashlib.sha256(key.encode()).hexdigest()

    def _computed(self, tower: LayeredTower, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """(states [tokens of all texts, H] as they are stored, lengths int64 [texts])."""
        import torch

        tokens = tower.tokenise(texts)
        lengths = lengths_of(tokens)
        starts, device = np.cumsum(lengths) - lengths, next(tower.parameters()).device
        states: np.ndarray | None = None
        was_training = tower.training
        tower.eval()
        for rows in rows_by_length(lengths, _BATCH_TOKENS):
            ids, mask = (torch.from_numpy(part).to(device) for part in padded([tokens[r] for r in rows], pad=tower.pad))
            hidden = _stored(tower.lower(ids, mask, tower.frozen_layers)[mask], self.dtype)  # [tokens, H]
            if states is None:
                states = np.empty((int(lengths.sum()), hidden.shape[1]), dtype=hidden.dtype)
            states[_positions(starts[rows], lengths[rows])] = hidden
        tower.train(was_training)
        assert states is not None, "every text has a token"
        return states, lengths

    def _write(self, folder: Path, hashes: pl.Series, states: np.ndarray, lengths: np.ndarray) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        block = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
        try:
            np.save(block / _STATES, states, allow_pickle=False)
            starts = np.cumsum(lengths) - lengths
            pl.DataFrame({CONTENT_HASH: hashes, "start": starts, "length": lengths}).write_parquet(block / _ROWS)
            manifest = {name: sha256_of(block / name) for name in (_STATES, _ROWS)}
            (block / _MANIFEST).write_text(json.dumps(manifest, sort_keys=True), encoding="utf-8")
            for path in (*block.iterdir(), block):
                sync(path)
            target = folder / sha256_of(block / _MANIFEST)
            if not target.exists():
                block.replace(target)
                sync(folder)
        finally:
            shutil.rmtree(block, ignore_errors=True)


@dataclass
class LayerStates:
    """The states of a catalogue's texts, on disk; a batch of them at a time in memory."""

    blocks: list[np.ndarray]
    """Memory-mapped, each [tokens, H], float16, or int16 that holds the bits of bfloat16."""
    block: np.ndarray
    """int64 [texts]: where each text's states are,"""
    start: np.ndarray
    """int64 [texts]: from which row,"""
    length: np.ndarray
    """int64 [texts]: and how many."""
    dtype: StateDtype
    _touched: int = field(default=0, repr=False)

    def take(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """States [B, T, H] in `dtype` and mask bool [B, T] of texts int64 [B], padded at the end with zeros."""
        import torch

        lengths = self.length[rows]
        mask = np.arange(lengths.max(initial=1)) < lengths[:, None]
        hidden = np.zeros((*mask.shape, self.blocks[0].shape[1]), dtype=self.blocks[0].dtype)
        for number in np.unique(self.block[rows]):
            here = np.flatnonzero(self.block[rows] == number)
            source = _positions(self.start[rows[here]], lengths[here])
            hidden[np.repeat(here, lengths[here]), _within(lengths[here])] = self.blocks[number][source]
        self._release(hidden.nbytes + len(rows) * _PAGES_AN_ITEM)
        return torch.from_numpy(hidden).view(_torch_dtype(self.dtype)), torch.from_numpy(mask)

    def _release(self, touched: int) -> None:
        """Give pages back before many are held: they stay in the system's cache, and count for no process."""
        self._touched += touched
        if self._touched > _RESIDENT_BYTES:
            for block in self.blocks:
                block._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
            self._touched = 0


def _opened(folder: Path, content_hashes: pl.Series, dtype: StateDtype) -> LayerStates:
    names = _block_names(folder)
    rows = _rows(folder).unique(CONTENT_HASH, keep="first", maintain_order=True)
    found = pl.DataFrame({CONTENT_HASH: content_hashes}).join(rows, on=CONTENT_HASH, how="left", maintain_order="left")
    blocks = [np.load(folder / name / _STATES, mmap_mode="r", allow_pickle=False) for name in names]
    block, start, length = (found[name].to_numpy() for name in ("block", "start", "length"))
    return LayerStates(blocks, block, start, length, dtype)


def _rows(folder: Path) -> pl.DataFrame:
    """content_hash, start, length, block (Int64, by the order of `_block_names`) of everything held."""
    schema = {CONTENT_HASH: pl.String, "start": pl.Int64, "length": pl.Int64, "block": pl.Int64}
    tables = [
        pl.read_parquet(folder / name / _ROWS).with_columns(pl.lit(number, pl.Int64).alias("block"))
        for number, name in enumerate(_block_names(folder))
    ]
    return pl.concat([pl.DataFrame(schema=schema), *tables])


def _block_names(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and "." not in path.name)


def _verify(folder: Path) -> None:
    """Set aside every block that is not what its manifest says, or whose manifest is not what its name says."""
    for name in _block_names(folder):
        if not _is_sound(folder / name):
            shutil.rmtree(folder / f"{name}.corrupt", ignore_errors=True)
            (folder / name).replace(folder / f"{name}.corrupt")


def _is_sound(block: Path) -> bool:
    if not all((block / name).is_file() for name in (_STATES, _ROWS, _MANIFEST)):
        return False
    if sha256_of(block / _MANIFEST) != block.name:
        return False
    manifest = json.loads((block / _MANIFEST).read_text(encoding="utf-8"))
    return all(sha256_of(block / name) == digest for name, digest in manifest.items())


def _stored(hidden: Tensor, dtype: StateDtype) -> np.ndarray:
    """States [tokens, H] as they are stored. Raises `ModelFileError` where one is not finite."""
    import torch

    states = hidden.to(_torch_dtype(dtype)).cpu()
    if not bool(torch.isfinite(states).all()):
        raise ModelFileError(
            f"A hidden state is not finite in {dtype}",
            remedy="Store states as bfloat16, whose range is that of float32, or fetch the weights again.",
        )
    return np.asarray((states.view(torch.int16) if dtype == "bfloat16" else states).numpy())


def _torch_dtype(dtype: StateDtype) -> torch.dtype:
    import torch

    return torch.bfloat16 if dtype == "bfloat16" else torch.float16


def _positions(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """int64 [sum of lengths]: start, start + 1 … of each run."""
    return np.asarray(np.repeat(starts, lengths) + _within(lengths))


def _within(lengths: np.ndarray) -> np.ndarray:
    """int64 [sum of lengths]: 0, 1 … of each run."""
    return np.asarray(np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths))
