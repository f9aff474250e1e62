"""Files that the commands read and write: lists, evaluations, user files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from genre_pipeline.contracts.columns import USER_ID
from genre_pipeline.contracts.errors import ConfigError, SourceError
from genre_pipeline.evaluation.report import render_report
from genre_pipeline.offline.evaluate import Evaluation

_LIST_FORMS = (".csv", ".parquet")


def write_evaluation(found: Evaluation, folder: Path) -> list[str]:
    """metrics.json, report.html, with ablations ablation.json, and recommendations.parquet: the names written."""
    names = write_reports(found, folder)
    found.recommendations.write_parquet(folder / "recommendations.parquet")
    return [*names, "recommendations.parquet"]


def write_reports(found: Evaluation, folder: Path) -> list[str]:
    """What `write_evaluation` writes, without the lists."""
    files = {"metrics.json": _json(found.result.to_json()), "report.html": render_report(found.result, found.ablations)}
    if found.ablations:
        files["ablation.json"] = _json({name: result.to_json() for name, result in found.ablations.items()})
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return list(files)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)


def check_report_folder(folder: Path) -> None:
    """Refuse a place where no folder can be, before hours of work."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError("--out is a file", remedy="Name a folder, new or old.", culprits=[str(folder)])


def check_list_file(path: Path) -> None:
    """Refuse a form that cannot be written, before hours of work."""
    if path.suffix not in _LIST_FORMS or path.is_dir():
        raise ConfigError(
            f"--out ends in {path.suffix!r}" if not path.is_dir() else "--out is a folder",
            remedy=f"Name a file that ends in one of: {', '.join(_LIST_FORMS)}.",
            culprits=[str(path)],
        )


def write_lists(lists: pl.DataFrame, path: Path) -> None:
    """csv or parquet, by the file's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        lists.write_csv(path)
    else:
        lists.write_parquet(path)


def read_users(path: Path) -> pl.Series:
    """User ids as text: the column user_id of a csv or parquet file, or one id a line. Repeats count once.

    Raises `SourceError` for a file that is missing, unreadable, without the column, or without any id.
    """
    if not path.is_file():
        raise SourceError(f"The users file {str(path)!r} does not exist", remedy="Name a file with user ids.")
    try:
        ids = _ids_of_parquet(path) if path.suffix == ".parquet" else _ids_of_text(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, UnicodeDecodeError) as error:
        raise SourceError(
            f"The users file {str(path)!r} cannot be read: {error}",
            remedy="Give parquet, csv in UTF-8 with a column user_id, or one id a line.",
        ) from error
    found = ids.cast(pl.String).drop_nulls().unique(maintain_order=True).alias(USER_ID)
    if found.is_empty():
        raise SourceError(f"The users file {str(path)!r} names no user", remedy="Leave --users out to list everybody.")
    return found


def _ids_of_parquet(path: Path) -> pl.Series:
    columns = pl.read_parquet_schema(path)
    if USER_ID not in columns:
        raise _no_column(path, list(columns))
    return pl.read_parquet(path, columns=[USER_ID])[USER_ID]


def _ids_of_text(path: Path) -> pl.Series:
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    header = [name.strip().strip('"') for name in lines[0].split(",")] if lines else []
    if USER_ID in header:
        return pl.read_csv(path, infer_schema=False)[USER_ID]
    if len(header) > 1:
        raise _no_column(path, header)
    return pl.Series([line for line in lines if line], dtype=pl.String)


def _no_column(path: Path, columns: list[str]) -> SourceError:
    return SourceError(
        f"The users file {str(path)!r} has no column user_id", remedy="Name the column user_id.", culprits=columns
    )
