"""Text made harder on purpose, for training: an encoder that has seen half a text is not lost with half a text.

Belongs here: random change of fields and words, all of it off by default and decided by a seed. Kept out: what is done
to every text (`text`). Dropping words and spans follows EDA (Wei and Zou 2019, arXiv 1901.11196).
"""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
from pydantic import Field

from genre_pipeline.contracts.columns import CATEGORIES, DESCRIPTION, TITLE
from genre_pipeline.contracts.settings import Settings


class TextAugmentationConfig(Settings):
    """Random change of texts in training. Every probability is 0 unless set.

    An item tower learns from such views of one item where `item_tower.pairs` asks for it.
    """

    title_only: float = Field(default=0.0, ge=0, le=1)
    """Probability that an item shows its title alone, as many new items do."""
    field_dropout: float = Field(default=0.0, ge=0, le=1)
    """Probability with which each field is left out; an item that has text keeps at least one field."""
    token_dropout: float = Field(default=0.0, ge=0, le=1)
    """Probability with which each word is left out; a text keeps at least one word."""
    span_deletion: float = Field(default=0.0, ge=0, le=1)
    """Probability that a run of words is cut out of a text."""
    span_share: float = Field(default=0.2, gt=0, lt=1)
    """Length of that run, as a share of the text's words."""


def augmented_texts(
    items: pl.DataFrame,
    compose: Callable[[pl.DataFrame], pl.Series],
    config: TextAugmentationConfig,
    *,
    seed: int,
    fields: Sequence[str] = (TITLE, DESCRIPTION, CATEGORIES),
) -> pl.Series:
    """One view of each item's text for training, in the order of `items`: another seed, another view.

    `compose` makes texts (String, null where an item has none) of items; fields are lost before it and words after it.
    With everything off this is `compose(items)`, bit by bit.
    """
    return augment_texts(compose(augment_fields(items, config, seed=seed, fields=fields)), config, seed=seed)


def augment_fields(
    items: pl.DataFrame,
    config: TextAugmentationConfig,
    *,
    seed: int,
    fields: Sequence[str] = (TITLE, DESCRIPTION, CATEGORIES),
) -> pl.DataFrame:
    """Items, some of whose `fields` became null (an empty list where the field is one); other columns stay."""
    if not (config.title_only or config.field_dropout) or items.is_empty():
        return items
    present = [name for name in fields if name in items.columns]
    filled = np.column_stack([_has_text(items[name]).to_numpy() for name in present])
    keep = _kept_fields(filled, [name == TITLE for name in present], config, np.random.default_rng(seed))
    return items.with_columns(
        pl.when(pl.Series(keep[:, at])).then(pl.col(name)).otherwise(_nothing(items.schema[name])).alias(name)
        for at, name in enumerate(present)
    )


def augment_texts(texts: pl.Series, config: TextAugmentationConfig, *, seed: int) -> pl.Series:
    """String to String, row by row: words (what white space separates) left out. Null and wordless texts stay."""
    if not (config.token_dropout or config.span_deletion):
        return texts
    rows = texts.alias("text").to_frame().with_row_index("row")
    words = rows.select("row", pl.col("text").str.extract_all(r"\S+")).explode("text").drop_nulls("text")
    if words.is_empty():
        return texts
    row = words["row"].to_numpy()
    starts = np.flatnonzero(np.r_[True, row[1:] != row[:-1]])
    keep = _kept_words(np.diff(np.r_[starts, len(row)]), config, np.random.default_rng(seed))
    changed = np.unique(row[~keep])
    joined = words.filter(pl.Series(keep)).group_by("row", maintain_order=True).agg(pl.col("text").str.join(" "))
    changes = joined.filter(pl.col("row").is_in(pl.Series(changed, dtype=pl.UInt32).implode()))
    return rows.update(changes, on="row", how="left", maintain_order="left")["text"].alias(texts.name)


def _has_text(field: pl.Series) -> pl.Series:
    if isinstance(field.dtype, pl.List):
        return (field.list.len() > 0).fill_null(False)
    return field.is_not_null()


def _nothing(dtype: pl.DataType) -> pl.Expr:
    return pl.lit([], dtype) if isinstance(dtype, pl.List) else pl.lit(None, dtype)


def _kept_fields(
    filled: np.ndarray, is_title: Sequence[bool], config: TextAugmentationConfig, rng: np.random.Generator
) -> np.ndarray:
    """bool [items, fields]: kept. Where all filled fields would go, the first that was kept of them comes back."""
    rows, columns = filled.shape
    keep = np.asarray(rng.random((rows, columns)) >= config.field_dropout)
    title = np.asarray(is_title)
    alone = np.asarray((rng.random(rows) < config.title_only) & filled[:, title].any(axis=1))
    keep = np.asarray(np.where(alone[:, None], title[None, :], keep))
    is_bare = np.asarray(filled.any(axis=1) & ~(keep & filled).any(axis=1))
    first = filled.argmax(axis=1)
    keep[is_bare, first[is_bare]] = True
    return keep


def _kept_words(lengths: np.ndarray, config: TextAugmentationConfig, rng: np.random.Generator) -> np.ndarray:
    """bool [words of all texts]: kept; a text that would lose every word keeps one of them, drawn."""
    ends = np.cumsum(lengths)
    begins = ends - lengths
    place = np.arange(ends[-1]) - np.repeat(begins, lengths)
    keep = np.asarray(rng.random(ends[-1]) >= config.token_dropout)
    cut = np.ceil(lengths * config.span_share).astype(np.int64)
    start = np.floor(rng.random(len(lengths)) * (lengths - cut + 1)).astype(np.int64)
    start = np.where(rng.random(len(lengths)) < config.span_deletion, start, ends[-1])
    inside = (place >= np.repeat(start, lengths)) & (place < np.repeat(start + cut, lengths))
    keep &= ~inside
    spared = begins + np.floor(rng.random(len(lengths)) * lengths).astype(np.int64)
    keep[spared[np.add.reduceat(keep, begins) == 0]] = True
    return keep
