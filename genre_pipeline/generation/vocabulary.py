"""The catalogue's own closed vocabulary of interests, learned from its categories and tags, and who carries what.

Where a catalogue has hardly any category, the words that several titles share stand in. Nothing outside this list can
ever become somebody's interest.
"""

import re
from dataclasses import dataclass

import polars as pl
from pydantic import Field

from genre_pipeline.contracts.columns import CATEGORIES, ITEM_ID, TITLE
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.generation.hostile import plain
from genre_pipeline.generation.language import FUNCTION_WORDS

INTEREST = "interest"
_TITLE_WORD = r"[\p{L}]{4,}"
_LINK_OR_MARKUP = re.compile(r"[<>{}|]|://|www\.")
_MAX_INTEREST_CHARACTERS = 40


class VocabularyConfig(Settings):
    """Which words may be an interest."""

    size: int = Field(default=200, ge=1)
    """The most frequent so many."""
    min_items: int = Field(default=3, ge=1)
    """A word that fewer items carry is no interest: one item alone cannot bring in a word."""
    max_item_share: float = Field(default=0.3, gt=0, le=1)
    """A title's word that more of the items carry says nothing; categories are taken however common."""
    enough_categories: int = Field(default=5, ge=0)
    """With fewer categories and tags than this, words of titles are taken too."""


@dataclass(frozen=True)
class Vocabulary:
    """Interests, and which items carry them."""

    interests: tuple[str, ...]
    """Lower case, the most frequent first; equal ones by name."""
    carried: pl.DataFrame
    """item_id, interest: each pair once, sorted."""


def learn_vocabulary(items: pl.DataFrame, config: VocabularyConfig) -> Vocabulary:
    """From a catalogue in schema `Items`, and of its column `tags` (List(String)) where it has one."""
    named = _usable(_listed(items), items.height, config, max_share=1.0)
    if named[INTEREST].n_unique() < config.enough_categories:
        words = _usable(_title_words(items), items.height, config, max_share=config.max_item_share)
        named = pl.concat([named, words]).unique()
    counts = named.group_by(INTEREST).len().sort("len", INTEREST, descending=[True, False]).head(config.size)
    kept = named.filter(pl.col(INTEREST).is_in(counts[INTEREST].implode())).sort(ITEM_ID, INTEREST)
    return Vocabulary(tuple(counts[INTEREST]), kept)


def _listed(items: pl.DataFrame) -> pl.DataFrame:
    columns = [name for name in (CATEGORIES, "tags") if name in items.columns]
    pairs = [items.select(ITEM_ID, pl.col(name).alias(INTEREST)).explode(INTEREST) for name in columns]
    return pl.concat(pairs).drop_nulls()


def _title_words(items: pl.DataFrame) -> pl.DataFrame:
    words = pl.col(TITLE).str.to_lowercase().str.extract_all(_TITLE_WORD).list.unique()
    says_nothing = sorted(set().union(*FUNCTION_WORDS.values()))
    pairs = items.select(ITEM_ID, words.alias(INTEREST)).explode(INTEREST).drop_nulls()
    return pairs.filter(~pl.col(INTEREST).is_in(says_nothing))


def _usable(pairs: pl.DataFrame, n_items: int, config: VocabularyConfig, *, max_share: float) -> pl.DataFrame:
    """Pairs of interests that are plain, short and carried by enough items, each once."""
    distinct = pairs[INTEREST].unique()
    texts = [_as_interest(text) for text in distinct]
    clean = pl.DataFrame({INTEREST: distinct, "clean": pl.Series(texts, dtype=pl.String)}).drop_nulls()
    once = pairs.join(clean, on=INTEREST).select(ITEM_ID, pl.col("clean").alias(INTEREST)).unique()
    carriers = pl.len().over(INTEREST)
    return once.filter((carriers >= config.min_items) & (carriers <= max(max_share * n_items, config.min_items)))


def _as_interest(text: str) -> str | None:
    word = plain(text, _MAX_INTEREST_CHARACTERS + 1).lower()
    is_usable = 0 < len(word) <= _MAX_INTEREST_CHARACTERS and not _LINK_OR_MARKUP.search(word) and "," not in word
    return word if is_usable else None
