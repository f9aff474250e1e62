"""What every source hands over: raw tables under the standard column names, proved to be readable.

Belongs here: the value itself and the checks that hold for every source. Kept out: any one source's own form.
"""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from polars.exceptions import PanicException, PolarsError

from genre_pipeline.contracts.columns import ITEM_ID, TIMESTAMP, USER_ID
from genre_pipeline.contracts.errors import SourceError
from genre_pipeline.contracts.names import INTERACTIONS, ITEMS, USERS

REQUIRED_COLUMNS: Mapping[str, tuple[str, ...]] = {
    INTERACTIONS: (USER_ID, ITEM_ID, TIMESTAMP),
    ITEMS: (ITEM_ID,),
    USERS: (USER_ID,),
}
_ROWS = "__rows"


@dataclass(frozen=True)
class RawDataset:
    """Raw tables of one data set; ids are text, every other cell is as the source gave it."""

    interactions: pl.LazyFrame
    items: pl.LazyFrame | None
    users: pl.LazyFrame | None
    name: str
    root: str | None = None
    """Folder or URL that relative media paths start from; None where a source has no files."""

    def media_location(self, path: str) -> str:
        """Where a picture or sound lies: a URL as it is, a relative path under `root`. A path out of it is refused."""
        if "://" in path:
            return path
        if self.root is None:
            raise SourceError(f"{self.name} has no folder that media paths could start from", remedy="Give URLs.")
        inside = posixpath.normpath(path)
        if inside.startswith(("../", "/")) or inside == ".." or Path(path).is_absolute():
            raise SourceError(
                f"A media path of {self.name} leads out of its folder", remedy="Give paths inside it.", culprits=[path]
            )
        return f"{self.root.rstrip('/')}/{inside}"


def check_table(table: str, frame: pl.LazyFrame, *, origin: str, columns: Mapping[str, str]) -> pl.LazyFrame:
    """Rename, require and read once: the frame comes back lazy, with its ids as text.

    `columns` maps a source's column name to the standard one. Every cell is decoded here, in blocks, so that a corrupt
    file fails now and by name. Raises SourceError: unreadable, a column missing or given twice, no rows.
    """
    try:
        names = frame.collect_schema().names()
        renamed = _renamed(table, frame, names, origin, columns)
        rows = renamed.select(pl.len().alias(_ROWS), pl.all().hash().max()).collect(engine="streaming")
    except (PolarsError, PanicException, OSError, UnicodeDecodeError) as error:
        raise unreadable(table, origin, error) from error
    if rows[_ROWS].item() == 0:
        raise SourceError(f"{table} in {origin} has no rows", remedy="Give a table with rows, or leave it out.")
    return renamed


def unreadable(table: str, origin: str, error: BaseException) -> SourceError:
    """The error for bytes that are not what they should be."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return SourceError(
        f"{table} cannot be read from {origin}: {reason}",
        remedy="Write the file again from its origin; it is damaged, or not of the form its ending says.",
    )


def _renamed(
    table: str, frame: pl.LazyFrame, names: list[str], origin: str, columns: Mapping[str, str]
) -> pl.LazyFrame:
    absent = [name for name in columns if name not in names]
    if absent:
        raise SourceError(f"{table} in {origin} has no column to rename", remedy=_has(names), culprits=absent)
    final = [columns.get(name, name) for name in names]
    twice = sorted({name for name in final if final.count(name) > 1})
    if twice:
        raise SourceError(
            f"{table} in {origin} would have a column twice", remedy="Change `source.columns`.", culprits=twice
        )
    missing = [name for name in REQUIRED_COLUMNS[table] if name not in final]
    if missing:
        raise SourceError(f"{table} in {origin} lacks a required column", remedy=_has(names), culprits=missing)
    schema = frame.rename(dict(columns)).collect_schema()
    ids = [name for name in (USER_ID, ITEM_ID) if name in final and schema[name].is_integer()]
    return frame.rename(dict(columns)).with_columns(pl.col(ids).cast(pl.String))


def _has(names: list[str]) -> str:
    return f"It has {', '.join(names) or 'no column'}: rename one in the source, or under `source.columns`."
