"""Reading back what was published and why it can be trusted: for the terminal, as plain values."""

import json
from typing import TYPE_CHECKING, Any

import polars as pl

from genre_pipeline.contracts.columns import ITEM_ID, TIMESTAMP, TITLE, USER_ID, VALUE
from genre_pipeline.contracts.errors import MissingPartitionError, UnknownUserError
from genre_pipeline.contracts.names import INTERACTIONS, ITEMS
from genre_pipeline.recommenders.reasons import COLD

if TYPE_CHECKING:
    from genre_pipeline.adapters.tables import Tables
    from genre_pipeline.project import Project


def published_list(tables: "Tables", user_id: str, k: int) -> dict[str, Any]:
    """user_id, run_id, as_of, source and recommendations (item_id, title, rank, score, reasons).

    A user without a list gets the popular one, and `source` says so. Raises `NotPublishedError` before the first
    publication, `UnknownUserError` where not even popular items are published.
    """
    own = tables.recommendations_for(user_id, k)
    if own is not None:
        rows = [{**vars(row), "reasons": list(row.reasons)} for row in own.rows]
        return _answer(user_id, own.run_id, own.as_of.isoformat(), "published", rows)
    popular = tables.popular("", k)
    if popular is None:
        raise UnknownUserError(
            "No list is published for this user, and no popular items", remedy="Run a night.", culprits=[user_id]
        )
    rows = [{**vars(row), "reasons": [COLD]} for row in popular.rows]
    return _answer(user_id, popular.run_id, popular.as_of.isoformat(), "popular", rows)


def published_state(tables: "Tables") -> dict[str, Any]:
    """What is live: run, day, model, nDCG by recommender; `published` is null before the first time."""
    current = tables.current()
    if current is None:
        return {"published": None}
    run = tables.run(current.run_id)
    return {
        "published": current.run_id,
        "day": current.day.isoformat(),
        "published_at": current.published_at.isoformat(),
        "previous": current.previous_run_id,
        "model": None if run is None else run.model_version,
        "ndcg": None if run is None else dict(run.metrics),
    }


def user_history(project: "Project", user_id: str, day: str, n: int) -> list[dict[str, Any]]:
    """The user's last `n` interactions up to `day`, newest first: item_id, title, timestamp, value."""
    mine = project.partitions.scan(INTERACTIONS, until=day).filter(pl.col(USER_ID) == user_id).collect()
    titles = project.partitions.read(ITEMS, day).select(ITEM_ID, TITLE)
    newest = mine.tail(n).reverse().join(titles, on=ITEM_ID, how="left", maintain_order="left")
    return newest.select(ITEM_ID, TITLE, TIMESTAMP, VALUE).to_dicts()


def night_evaluation(project: "Project", day: str) -> dict[str, Any]:
    """The evaluation of a night as the terminal shows it: cut, users, k and rows of text."""
    path = project.home / "reports" / day / "metrics.json"
    if not path.is_file():
        raise MissingPartitionError(
            f"There is no evaluation of {day}", remedy=f"`genre run --select evaluation --date {day}`."
        )
    found = json.loads(path.read_text(encoding="utf-8"))
    shown = {"recall": "recall", "ndcg": "nDCG", "coverage": "coverage", "novelty": "novelty"}
    rows = [
        {
            "recommender": name,
            **{f"{label}@{found['k']}": _with_range(metrics[metric]) for metric, label in shown.items()},
        }
        for name, metrics in sorted(found["recommenders"].items(), key=lambda pair: -pair[1]["ndcg"]["value"])
    ]
    return {"cut": found["cut"], "users": found["users"], "k": found["k"], "rows": rows}


def _with_range(metric: dict[str, float | None]) -> str:
    value, low, high = metric["value"], metric["low"], metric["high"]
    if value is None:
        return "–"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _answer(user_id: str, run_id: str, as_of: str, source: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"user_id": user_id, "run_id": run_id, "as_of": as_of, "source": source, "recommendations": rows}
