"""The text a model reads of an item, composed from its columns by configuration. Cleaning is `preprocessing`'s."""

import hashlib

import dataframely as dy
import polars as pl
from pydantic import Field, field_validator

from genre_pipeline.contracts.columns import CATEGORIES, CONTENT_HASH, DESCRIPTION, ITEM_ID, TITLE
from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.tables import ItemTexts

TEXT = "text"


class ItemTextConfig(Settings):
    """Which columns make an item's text, and how they are joined."""

    fields: tuple[str, ...] = (TITLE, CATEGORIES, DESCRIPTION)
    """Columns of `items` in reading order; any further text, number or list column of the source may be named."""
    separator: str = ". "
    """Between two columns that both hold something."""
    list_separator: str = ", "
    """Between the entries of a list column, such as the categories."""
    max_characters: int = Field(default=2000, ge=1)
    """The text is cut here; sentence encoders read about 4 characters a token and 256 tokens."""

    @field_validator("fields")
    @classmethod
    def _named_once(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        if not fields or len(set(fields)) != len(fields):
            raise ValueError("name at least one column, and each column once")
        return fields


def compose_item_texts(items: pl.DataFrame, config: ItemTextConfig | None = None) -> dy.DataFrame[ItemTexts]:
    """One row an item in the order of `items`: item_id, text (null where nothing is there), content_hash.

    `content_hash` is the sha256 of the text in UTF-8, that of nothing where the text is null.

    Raises:
        ConfigError: `items` lacks a configured column.
    """
    config = config or ItemTextConfig()
    missing = [name for name in config.fields if name not in items.columns]
    if missing:
        raise ConfigError(
            "The item text names columns that the items do not have",
            remedy=f"Correct `fields` of the item text; the items have: {', '.join(items.columns)}.",
            culprits=missing,
        )
    parts = [_part(items.schema[name], name, config.list_separator) for name in config.fields]
    joined = pl.concat_str(parts, separator=config.separator, ignore_nulls=True).str.head(config.max_characters)
    texts = items.select(ITEM_ID, _nothing_is_null(joined).alias(TEXT))
    return ItemTexts.validate(texts.with_columns(_sha256(texts[TEXT])), cast=True)


def _part(dtype: pl.DataType, name: str, list_separator: str) -> pl.Expr:
    column = pl.col(name)
    if isinstance(dtype, pl.List | pl.Array):
        column = column.cast(pl.List(pl.String)).list.join(list_separator, ignore_nulls=True)
    return _nothing_is_null(column.cast(pl.String))


def _nothing_is_null(text: pl.Expr) -> pl.Expr:
    stripped = text.str.strip_chars()
    return pl.when(stripped != "").then(stripped)


def _sha256(texts: pl.Series) -> pl.Series:
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in texts.fill_null("")]
    return pl.Series(CONTENT_HASH, digests, dtype=pl.String)
