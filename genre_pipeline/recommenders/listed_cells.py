"""How a further column of the items, which no contract knows, says several things: a list, or text as `de|fr`."""

import polars as pl

_SEPARATOR = r"\s*[|,;]\s*"


def as_list(column: str, schema: pl.Schema) -> pl.Expr:
    """List(String) of a column of either form; null stays null."""
    if isinstance(schema[column], pl.List):
        return pl.col(column).cast(pl.List(pl.String))
    return pl.col(column).cast(pl.String).str.replace_all(_SEPARATOR, "|").str.split("|")
