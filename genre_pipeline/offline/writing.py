"""Files that the commands read and write: lists, evaluations, user files."""

import json
from pathlib import Path

import polars as pl

from genre_pipeline.contracts.columns import USER_ID
from genre_pipeline.contracts.errors import ConfigError, SourceError
from genre_pipeline.evaluation.report import render_report
from genre_pipeline.offline.evaluate import Evaluation

_LIST_FORMS = (".csv", ".parquet")


def write_evaluation(found: Evaluation, folder: Path) -> None:
    """metrics.json, recommendations.parquet and report.html."""
    folder.mkdir(parents=True, exist_ok=True)
    metrics = json.dumps(found.result.to_json(), indent=1, ensure_ascii=False)
    (folder / "metrics.json").write_text(metrics, encoding="utf-8")
    found.recommendations.write_parquet(folder / "recommendations.parquet")
    (folder / "report.html").write_text(render_report(found.result), encoding="utf-8")


def check_list_file(path: Path) -> None:
    """Refuse a form that cannot be written, before hours of work."""
    if path.suffix not in _LIST_FORMS:
        raise ConfigError(
            f"--out ends in {path.suffix!r}", remedy=f"Use one of: {', '.join(_LIST_FORMS)}.", culprits=[str(path)]
        )


def write_lists(lists: pl.DataFrame, path: Path) -> None:
    """csv or parquet, by the file's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        lists.write_csv(path)
    else:
        lists.write_parquet(path)


def read_users(path: Path) -> pl.Series:
    """User ids as text: the column user_id of a csv or parquet file, or one id a line. Repeats count once."""
    if not path.is_file():
        raise SourceError(f"The users file {str(path)!r} does not exist", remedy="Name a file with user ids.")
    frame = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema=False, separator=",")
    if USER_ID in frame.columns:
        return frame[USER_ID].cast(pl.String).drop_nulls().unique(maintain_order=True)
    if path.suffix == ".parquet" or len(frame.columns) > 1:
        raise SourceError(f"{path} has no column user_id", remedy="Name the column user_id.", culprits=frame.columns)
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return pl.Series(USER_ID, [line for line in lines if line], dtype=pl.String).unique(maintain_order=True)
