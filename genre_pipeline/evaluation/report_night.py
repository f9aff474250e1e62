"""The night's sections of the report: what changed since the night before, what was shown, how it ran.

Belongs here: what each of these sections shows. Words are in `report_night_*.html`; the page and the evaluation's own
sections are `report`'s.
"""

from typing import Any

import polars as pl

from genre_pipeline.contracts.columns import RECOMMENDER
from genre_pipeline.evaluation import labels
from genre_pipeline.evaluation.drift import THRESHOLDS
from genre_pipeline.evaluation.experiment import experiment_notes, experiment_rows
from genre_pipeline.evaluation.metrics import ACCURACY
from genre_pipeline.evaluation.night import NightFacts
from genre_pipeline.evaluation.plots import Scale, bars, scale_over, whisker

Row = dict[str, Any]
_MEASURES = {"psi": "stability index", "mean_shift": "mean shift", "changed_share": "changed", "norm_shift": "length"}
_LEVELS = {"large": "behind", "watch": "few", "stable": "ahead", "unknown": "level"}
"""Each level of drift as the tag that the page has for its colour."""
_RANKS_SHOWN = 10


def night_context(night: NightFacts, champion: str, k: int) -> Row:
    """Everything that `report_night_*.html` name."""
    return {
        "night": night,
        "headline": _headline(night, champion),
        "own": _changes(night.metrics.filter(pl.col(RECOMMENDER) == champion), "metric", k),
        "others": _changes(night.metrics.filter(pl.col("metric") == "ndcg"), RECOMMENDER, k),
        "online": night.online.to_dicts(),
        "ranks": _ranks(night),
        "arms": [] if night.experiment is None else experiment_rows(night.experiment),
        "arm_notes": [] if night.experiment is None else experiment_notes(night.experiment),
        "rows": night.rows.to_dicts(),
        "failed": night.checks.filter(~pl.col("is_passed")).to_dicts(),
        "rejected": night.rejected.to_dicts(),
        "moved": _drift(night.drift.filter(pl.col("level") != "stable")),
        "stable": _drift(night.drift.filter(pl.col("level") == "stable")),
        "measures": [
            {"name": _MEASURES[name], "watch": ends[0], "large": ends[1]} for name, ends in THRESHOLDS.items()
        ],
        "times": _times(night.times),
        "seconds": night.times["seconds"].sum(),
    }


def _headline(night: NightFacts, champion: str) -> Row:
    ndcg = night.metrics.filter(pl.col(RECOMMENDER) == champion, pl.col("metric") == "ndcg").to_dicts()
    counts = dict(night.drift.group_by("level").len().rows())
    return {
        "ndcg": ndcg[0] if ndcg and ndcg[0]["difference"] is not None else None,
        "outcome": _told(ndcg[0]) if ndcg else None,
        "failed": night.checks.filter(~pl.col("is_passed")).height,
        "checks": night.checks.height,
        "rejected": int(night.rejected["count"].sum()),
        "large": counts.get("large", 0),
    }


def _changes(rows: pl.DataFrame, named_by: str, k: int) -> Row:
    """A table of differences, a strip each; metrics of other scales than the shares have no common strip."""
    known = [row for row in rows.to_dicts() if row["difference"] is not None]
    shares = [row for row in known if row["metric"] not in ("novelty", "average_popularity")]
    scale = scale_over(row[end] for row in shares for end in ("difference", "low", "high"))
    return {
        "ticks": scale.ticks,
        "zero": scale.at(0.0),
        "label": labels.metric_label("ndcg", k),
        "rows": [_change(row, named_by, k, scale if row in shares else None) for row in known],
    }


def _change(row: Row, named_by: str, k: int, scale: Scale | None) -> Row:
    metric = row["metric"]
    digits = 4 if scale is not None else 2
    return {
        "name": labels.metric_label(metric, k) if named_by == "metric" else row[named_by],
        **{end: labels.metric_value(metric, row[end]) for end in ("value", "before")},
        **{end: labels.signed(row[end], digits) for end in ("difference", "low", "high")},
        "has_interval": row["low"] is not None,
        "mark": None if scale is None else whisker(scale, row["difference"], row["low"], row["high"]),
        "verdict": _told(row),
    }


def _told(row: Row) -> str:
    """Only accuracy has a better end: of the other metrics it is told which way they went."""
    if row["low"] is None:
        return "few"
    up, down = ("ahead", "behind") if row["metric"] in ACCURACY else ("up", "down")
    return up if row["low"] > 0 else down if row["high"] < 0 else "level"


def _ranks(night: NightFacts) -> Row:
    """CTR by rank, a row each, a cell a variant; bars compare all of them."""
    if night.ranks.is_empty():
        return {"variants": [], "rows": []}
    shown = night.ranks.filter(pl.col("rank") <= _RANKS_SHOWN)
    lengths = dict(zip(shown.select("rank", "variant").rows(), bars(shown["ctr"].to_list()), strict=True))
    cells = {(row["rank"], row["variant"]): row for row in shown.to_dicts()}
    variants, ranks = (shown[name].unique().sort().to_list() for name in ("variant", "rank"))
    rows = [
        {"rank": rank, "cells": [(cells.get((rank, name)), lengths.get((rank, name), 0.0)) for name in variants]}
        for rank in ranks
    ]
    return {"variants": variants, "rows": rows}


def _drift(drift: pl.DataFrame) -> list[Row]:
    order = {"large": 0, "watch": 1, "unknown": 2, "stable": 3}
    rows = [{**row, "label": _MEASURES[row["measure"]], "tag": _LEVELS[row["level"]]} for row in drift.to_dicts()]
    return sorted(rows, key=lambda row: order[row["level"]])


def _times(times: pl.DataFrame) -> list[Row]:
    rows = times.to_dicts()
    for row, length in zip(rows, bars([row["seconds"] for row in rows]), strict=True):
        row["bar"] = length
    return rows
