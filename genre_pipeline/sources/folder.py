"""The standard folder: `interactions`, `items` and `users` as parquet, csv, tsv or jsonl, local or in an object store.

Belongs here: finding the files and opening them. Kept out: other people's data-set forms (`movielens`).
"""

from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

import fsspec
import polars as pl

from genre_pipeline.contracts.errors import SourceError
from genre_pipeline.contracts.names import INTERACTIONS, ITEMS, USERS
from genre_pipeline.sources.raw_dataset import RawDataset, check_table

_NATIVE_SCHEMES = ("s3", "gs", "gcs", "az", "azure", "abfs", "abfss", "http", "https", "file")
"""What polars streams by itself; other stores are read whole through fsspec."""
_Scan = Callable[[str | Path | BytesIO], pl.LazyFrame]


def _scan_csv(source: str | Path | BytesIO) -> pl.LazyFrame:
    # Without inference every cell is text: `007` stays `007`, and preprocessing reads numbers and moments itself.
    return pl.scan_csv(source, infer_schema=False)


def _scan_tsv(source: str | Path | BytesIO) -> pl.LazyFrame:
    return pl.scan_csv(source, infer_schema=False, separator="\t")


def _scan_jsonl(source: str | Path | BytesIO) -> pl.LazyFrame:
    return pl.scan_ndjson(source, infer_schema_length=None)


FORMS: Mapping[str, _Scan] = {
    "parquet": pl.scan_parquet,
    "csv": _scan_csv,
    "tsv": _scan_tsv,
    "jsonl": _scan_jsonl,
    "ndjson": _scan_jsonl,
}
"""File ending to the way it is read."""


def read_folder(
    path: str | Path, *, name: str | None = None, columns: Mapping[str, Mapping[str, str]] | None = None
) -> RawDataset:
    """Read a standard folder; media paths stay relative to it, and `root` remembers where it is.

    `columns` maps table, then source column, to the standard column. Raises SourceError: no such folder, no
    interactions, one table in two forms, a missing column, no rows, an unreadable file.
    """
    folder = str(path).rstrip("/")
    renames = columns or {}
    if "://" not in folder and not Path(folder).is_dir():
        raise SourceError(f"{folder} is not a folder", remedy="Name a folder that holds the tables, or a URL of one.")
    tables = {table: _read_table(folder, table, renames.get(table, {})) for table in (INTERACTIONS, ITEMS, USERS)}
    interactions = tables[INTERACTIONS]
    if interactions is None:
        wanted = ", ".join(f"interactions.{form}" for form in FORMS)
        raise SourceError(f"{folder} has no interactions table", remedy=f"Give a folder with one of {wanted}.")
    return RawDataset(interactions, tables[ITEMS], tables[USERS], name or folder.rsplit("/", 1)[-1], root=folder)


def _read_table(folder: str, table: str, columns: Mapping[str, str]) -> pl.LazyFrame | None:
    found = [location for form in FORMS if _exists(location := f"{folder}/{table}.{form}")]
    if len(found) > 1:
        raise SourceError(f"{folder} has {table} in several forms", remedy="Leave one.", culprits=found)
    if not found:
        if columns:
            raise SourceError(
                f"{folder} has no table {table}, whose columns should be renamed",
                remedy="Add the table, or take it out of `source.columns`.",
            )
        return None
    return check_table(table, _open(found[0]), origin=found[0], columns=columns)


def _exists(location: str) -> bool:
    if "://" not in location:
        return Path(location).is_file()
    try:
        store, inside = fsspec.core.url_to_fs(location)
        return bool(store.isfile(inside))
    except (ImportError, ValueError) as error:
        raise SourceError(
            f"{location.partition('://')[0]}:// cannot be opened: {error}",
            remedy="Install the fsspec driver it names (for s3://, `pip install s3fs`), or correct the URL.",
        ) from error
    except OSError as error:
        raise SourceError(f"{location} cannot be reached: {error}", remedy="Check the URL and credentials.") from error


def _open(location: str) -> pl.LazyFrame:
    scan = FORMS[location.rsplit(".", 1)[-1]]
    scheme = location.partition("://")[0] if "://" in location else ""
    if not scheme:
        return scan(Path(location))
    if scheme in _NATIVE_SCHEMES:
        return scan(location)
    try:
        with fsspec.open(location, "rb") as handle:
            return scan(BytesIO(handle.read()))
    except OSError as error:
        raise SourceError(f"{location} cannot be read: {error}", remedy="Check the URL and credentials.") from error
