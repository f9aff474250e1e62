"""Texts as batches of tokens: longest first, as many as a budget holds, so that little is spent on padding."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import polars as pl

from genre_pipeline.contracts.errors import ConfigError

Side = Literal["right", "left"]


def tokenise(tokenizer: Any, texts: list[str], max_tokens: int) -> pl.Series:
    """Token ids List(Int64) by text, cut at `max_tokens`, with the special tokens that the tokenizer adds."""
    if not texts:
        return pl.Series(dtype=pl.List(pl.Int64))
    encoded = tokenizer(texts, truncation=True, max_length=max_tokens, return_attention_mask=False)
    return pl.Series(encoded["input_ids"], dtype=pl.List(pl.Int64))


def tokens_within(network: Any, most: int, source: str) -> int:
    """`most` tokens of a text, where a network of transformers has so many positions. Raises `ConfigError`."""
    positions = int(network.config.max_position_embeddings)
    if most > positions:
        raise ConfigError(
            f"The network {source} reads at most {positions} tokens",
            remedy=f"Set its `max_tokens` to {positions} or less.",
            culprits=[most],
        )
    return most


def token_batches(
    tokens: pl.Series, budget: int, *, pad: int, padding: Side = "right"
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(rows [b], token ids int64 [b, length], mask bool [b, length]), longest texts first; texts without tokens never.

    A batch holds as many texts as fit in `budget` tokens, each counted at the batch's longest; one text always fits.
    """
    lengths = tokens.list.len().to_numpy().astype(np.int64)
    for rows in rows_by_length(lengths, budget):
        mask = _mask(lengths[rows], padding)
        ids = np.full(mask.shape, pad, dtype=np.int64)
        ids[mask] = tokens.gather(rows).explode().to_numpy()
        yield rows, ids, mask


def rows_by_length(lengths: np.ndarray, budget: int) -> Iterator[np.ndarray]:
    """Rows int64 [b] of each batch of `token_batches`, for texts of these lengths, int64 [texts]."""
    order = np.argsort(-lengths, kind="stable")
    order = order[lengths[order] > 0]
    start = 0
    while start < len(order):
        rows = order[start : start + max(1, budget // int(lengths[order[start]]))]
        yield rows
        start += len(rows)


def shortened(tokens: np.ndarray, most: int, tail: int = 0) -> np.ndarray:
    """At most `most` of a text's tokens [T]: the first ones, and of a longer text the last `tail`."""
    return tokens if len(tokens) <= most else np.concatenate([tokens[: most - tail], tokens[len(tokens) - tail :]])


def lengths_of(tokens: Sequence[Sequence[int] | np.ndarray]) -> np.ndarray:
    """int64 [texts]: tokens of each text."""
    return np.fromiter(map(len, tokens), dtype=np.int64, count=len(tokens))


def padded(
    tokens: Sequence[Sequence[int] | np.ndarray], *, pad: int, padding: Side = "right"
) -> tuple[np.ndarray, np.ndarray]:
    """(token ids int64 [texts, longest], mask bool [texts, longest]), padded at the end, or before the beginning."""
    lengths = lengths_of(tokens)
    mask = _mask(lengths, padding)
    ids = np.full(mask.shape, pad, dtype=np.int64)
    ids[mask] = np.concatenate(tokens) if len(tokens) else np.zeros(0, dtype=np.int64)
    return ids, mask


def _mask(lengths: np.ndarray, padding: Side) -> np.ndarray:
    mask = np.arange(lengths.max(initial=1)) < lengths[:, None]
    return mask[:, ::-1].copy() if padding == "left" else mask
