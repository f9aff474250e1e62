"""Normalisation of text as people wrote it: what a model reads, and what a page shows.

Belongs here: expressions over text columns. Kept out: composing an item's text and tokenising (`features`).
"""

import html
import re
import unicodedata

import polars as pl

_INVISIBLE = (
    r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"  # control characters that are not white space
    r"\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]"
)
"""Control, soft hyphen, zero-width, bidirectional and tag characters: seen by a model, never by a reader."""
_SCRIPT = r"(?is)<script\b[^>]*>.*?</script\s*>|<style\b[^>]*>.*?</style\s*>|<!--.*?-->"
_TAG = r"</?[A-Za-z!][^<>]*>"
_ENTITY = r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"
_COMPILED_INVISIBLE = re.compile(_INVISIBLE)
_COMPILED_ENTITY = re.compile(_ENTITY)


def normalise_text(expr: pl.Expr) -> pl.Expr:
    """String to String: one form for equal texts, without markup; an empty text becomes null.

    Invisible characters go (control, zero-width, bidirectional), Unicode becomes NFC, HTML entities are decoded, tags
    become a space (scripts, styles and comments with their content), white space collapses. Language and case are
    kept. Idempotent.
    """
    visible = expr.str.replace_all(_INVISIBLE, "").str.normalize("NFC")
    decoded = pl.when(visible.str.contains(_ENTITY)).then(visible).otherwise(None)
    text = pl.coalesce(decoded.map_batches(_decode_entities, return_dtype=pl.String), visible)
    bare = text.str.replace_all(_SCRIPT, " ").str.replace_all(_TAG, " ")
    collapsed = bare.str.replace_all(r"\s+", " ").str.strip_chars()
    return pl.when(collapsed != "").then(collapsed)


def _decode_entities(texts: pl.Series) -> pl.Series:
    """Decode the few texts that carry an entity, each distinct one once: only Python knows all 2,231 names."""
    distinct = texts.drop_nulls().unique()
    decoded = pl.Series([_decoded(text) for text in distinct], dtype=pl.String)
    return texts.replace_strict(distinct, decoded, default=None, return_dtype=pl.String) if len(distinct) else texts


def _decoded(text: str) -> str:
    """Decode until nothing changes: feeds are often escaped twice, and normalising twice must change nothing."""
    previous = None
    while text != previous:
        previous = text
        text = _COMPILED_ENTITY.sub(lambda match: html.unescape(match.group()), text)
        text = unicodedata.normalize("NFC", _COMPILED_INVISIBLE.sub("", text))
    return text
