"""The evaluation's sections of the report: accuracy, comparison, segments, losses, cost.

Belongs here: what each of these sections shows. Words are in `report_evaluation*.html`, geometry in `plots`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from genre_pipeline.contracts.columns import RECOMMENDER
from genre_pipeline.evaluation import labels
from genre_pipeline.evaluation.ablation import ablation_rows
from genre_pipeline.evaluation.metrics import ACCURACY
from genre_pipeline.evaluation.plots import bars, scale_over, whisker
from genre_pipeline.evaluation.result import EvaluationResult

Row = dict[str, Any]
_PLOTTED = ("ndcg", "recall")


def evaluation_context(result: EvaluationResult, ablations: Mapping[str, EvaluationResult]) -> Row:
    """Everything that `report_evaluation_*.html` name."""
    names = result.recommenders()
    return {
        "result": result,
        "protocol": result.protocol,
        "percent": round(100 * result.protocol.confidence),
        "names": names,
        "verdict": _verdict(result),
        "tiles": _tiles(result),
        "charts": [_chart(result, metric) for metric in _PLOTTED],
        "accuracy": _metric_table(result, ACCURACY),
        "comparison": _comparison(result, "ndcg"),
        "against": _against(result),
        "matrices": _segment_matrices(result, names),
        "losses": _losses(result),
        "beyond": _metric_table(result, _other_metrics(result)),
        "scatter": _scatter(result, names),
        "blend": _blend(result),
        "cost": _cost(result),
        "ablations": {name: ablation_rows(found) for name, found in ablations.items()},
        "labels": labels,
    }


def _of_metric(result: EvaluationResult, metric: str) -> dict[str, Row]:
    rows = result.metrics.filter(pl.col("metric") == metric).to_dicts()
    return {row[RECOMMENDER]: row for row in rows}


def _other_metrics(result: EvaluationResult) -> list[str]:
    found: list[str] = result.metrics["metric"].unique(maintain_order=True).to_list()
    first = [metric for metric in ("coverage", "novelty") if metric in found]
    return first + [metric for metric in found if metric not in (*ACCURACY, *first)]


def _chart(result: EvaluationResult, metric: str) -> Row:
    """Dot and whisker of one metric, a row a recommender, best first."""
    rows = sorted(_of_metric(result, metric).values(), key=lambda row: (-(row["value"] or 0), row[RECOMMENDER]))
    scale = scale_over(row[end] for row in rows for end in ("value", "low", "high"))
    return {
        "id": metric,
        "label": labels.metric_label(metric, result.protocol.k),
        "meaning": labels.metric_meaning(metric),
        "ticks": scale.ticks,
        "rows": [
            {
                "name": row[RECOMMENDER],
                "is_champion": row[RECOMMENDER] == result.champion,
                "mark": whisker(scale, row["value"], row["low"], row["high"]),
                **{end: labels.metric_value(metric, row[end]) for end in ("value", "low", "high")},
            }
            for row in rows
        ],
    }


def _metric_table(result: EvaluationResult, metrics: Sequence[str]) -> Row:
    """Numbers of several metrics, a row a recommender."""
    k = result.protocol.k
    tables = {metric: _of_metric(result, metric) for metric in metrics}
    best = {metric: _best(metric, tables[metric]) for metric in metrics}
    return {
        "columns": [{"label": labels.metric_label(m, k), "meaning": labels.metric_meaning(m)} for m in metrics],
        "rows": [
            {
                "name": name,
                "is_champion": name == result.champion,
                "cells": [_cell(metric, tables[metric].get(name), name in best[metric]) for metric in metrics],
            }
            for name in result.recommenders()
        ],
    }


def _best(metric: str, rows: dict[str, Row]) -> set[str]:
    # Only accuracy has a better end: more novelty or less concentration is a choice.
    known = [row["value"] for row in rows.values() if row["value"] is not None]
    if metric not in ACCURACY or not known:
        return set()
    return {name for name, row in rows.items() if row["value"] == max(known)}


def _cell(metric: str, row: Row | None, is_best: bool) -> Row:
    value = None if row is None else row["value"]
    low, high = (None, None) if row is None else (row["low"], row["high"])
    reach = None if low is None else labels.metric_value(metric, (high - low) / 2)
    return {"value": labels.metric_value(metric, value), "reach": reach, "is_best": is_best}


def _comparison(result: EvaluationResult, metric: str) -> Row:
    rows = result.comparisons.filter(pl.col("metric") == metric).to_dicts()
    scale = scale_over(row[end] for row in rows for end in ("difference", "low", "high"))
    return {
        "label": labels.metric_label(metric, result.protocol.k),
        "ticks": scale.ticks,
        "zero": scale.at(0.0),
        "rows": [
            {**row, "mark": whisker(scale, row["difference"], row["low"], row["high"]), "verdict": _told(row, result)}
            for row in rows
        ],
    }


def _told(row: Row, result: EvaluationResult) -> str:
    if row["p_holm"] is None:
        return "few"
    if row["p_holm"] >= 1 - result.protocol.confidence:
        return "level"
    return "ahead" if row["difference"] > 0 else "behind"


def _verdict(result: EvaluationResult) -> Row:
    """How the champion stands: counts of others it is ahead of, level with, behind, in nDCG."""
    told = [_told(row, result) for row in result.comparisons.filter(pl.col("metric") == "ndcg").to_dicts()]
    names = result.recommenders()
    return {
        "others": len(told),
        **{outcome: told.count(outcome) for outcome in ("ahead", "behind")},
        "level": told.count("level") + told.count("few"),
        "place": names.index(result.champion) + 1 if result.champion in names else None,
    }


def _tiles(result: EvaluationResult) -> list[Row]:
    tiles = []
    for metric in ("ndcg", "recall", "hit", "coverage"):
        row = _of_metric(result, metric).get(result.champion)
        if row is None or row["value"] is None:
            continue
        ends = [labels.metric_value(metric, row[end]) for end in ("low", "high")]
        tiles.append(
            {
                "label": labels.metric_label(metric, result.protocol.k),
                "value": labels.metric_value(metric, row["value"]),
                "interval": None if row["low"] is None else f"{ends[0]} to {ends[1]}",
            }
        )
    return tiles


def _against(result: EvaluationResult) -> Row:
    rows = result.segments.against_best.filter(pl.col("metric") == "ndcg").to_dicts()
    scale = scale_over(row[end] for row in rows for end in ("difference", "low", "high"))
    return {
        "ticks": scale.ticks,
        "zero": scale.at(0.0),
        "rows": [
            {**row, "mark": whisker(scale, row["difference"], row["low"], row["high"]), "verdict": _stands(row)}
            for row in rows
        ],
    }


def _stands(row: Row) -> str:
    if row["low"] is None:
        return "few"
    return "behind" if row["is_clearly_worse"] else ("ahead" if row["low"] > 0 else "level")


def _segment_matrices(result: EvaluationResult, names: Sequence[str]) -> list[Row]:
    """A table for each kind of segment: nDCG of each recommender, shaded by its share of the best."""
    ndcg = result.segments.metrics.filter(pl.col("metric") == "ndcg")
    return [_matrix(kind, names, result.champion) for kind in ndcg.partition_by("kind", maintain_order=True)]


def _matrix(rows: pl.DataFrame, names: Sequence[str], champion: str) -> Row:
    parts = rows.partition_by("segment", maintain_order=True)
    shown = [*names, *sorted(set(rows[RECOMMENDER]) - set(names))]
    return {
        "title": labels.SEGMENT_KINDS[rows["kind"][0]],
        "k": rows["k"][0],
        "segments": [{"name": part["segment"][0], "users": part["users"].max()} for part in parts],
        "rows": [
            {"name": name, "is_champion": name == champion, "cells": [_shaded(part, name) for part in parts]}
            for name in shown
        ],
    }


def _shaded(part: pl.DataFrame, name: str) -> Row:
    found = part.filter(pl.col(RECOMMENDER) == name).to_dicts()
    if not found or found[0]["value"] is None:
        return {"value": None, "low": None, "high": None, "shade": 0, "is_best": False}
    best = max(part["value"].drop_nulls())
    row = found[0]
    share = row["value"] / best if best > 0 else 0.0
    return {**row, "shade": round(5 * share), "is_best": best > 0 and row["value"] == best}


def _losses(result: EvaluationResult) -> list[Row]:
    """Every comparison and segment in which the champion's mean is below another's; the clear ones first."""
    overall = [
        {
            "where": "Overall",
            "users": result.protocol.users,
            "best_part": row["versus"],
            "is_clear": _told(row, result) == "behind",
            **row,
        }
        for row in result.comparisons.to_dicts()
        if row["difference"] is not None and row["difference"] < 0
    ]
    segments = [
        {
            "where": labels.segment_label(row["kind"], row["segment"]).capitalize(),
            "is_clear": row["is_clearly_worse"],
            **row,
        }
        for row in result.segments.against_best.filter("is_worse").to_dicts()
    ]
    found = [{**row, "label": labels.metric_label(row["metric"], result.protocol.k)} for row in overall]
    found += [{**row, "label": labels.metric_label(row["metric"], row["k"])} for row in segments]
    return sorted(found, key=lambda row: not row["is_clear"])


def _scatter(result: EvaluationResult, names: Sequence[str]) -> Row | None:
    """Accuracy against coverage: what is paid for the one in the other."""
    ndcg, coverage = _of_metric(result, "ndcg"), _of_metric(result, "coverage")
    shown = [name for name in names if name in coverage and coverage[name]["value"] is not None]
    if not shown:
        return None
    x, y = (scale_over(rows[name]["value"] for name in shown) for rows in (coverage, ndcg))
    return {
        "x": x,
        "y": y,
        "points": [
            {
                "name": name,
                "nth": nth,
                "is_champion": name == result.champion,
                "x": x.at(coverage[name]["value"]),
                "y": round(100 - y.at(ndcg[name]["value"]), 2),
                "coverage": coverage[name]["value"],
                "ndcg": ndcg[name]["value"],
            }
            for nth, name in enumerate(shown, start=1)
        ],
    }


def _blend(result: EvaluationResult) -> Row:
    weights = result.run.blend_weights
    names = weights[RECOMMENDER].unique(maintain_order=True).to_list()
    rows = []
    for part in weights.partition_by("segment", maintain_order=True):
        of = dict(part.select(RECOMMENDER, "weight").rows())
        cells = [of.get(name) for name in names]
        rows.append({"segment": part["segment"][0], "cells": list(zip(cells, bars(cells), strict=True))})
    return {"names": names, "rows": rows}


def _cost(result: EvaluationResult) -> list[Row]:
    rows = result.run.cost.to_dicts()
    for column in ("fit_seconds", "score_seconds", "peak_memory_mb"):
        for row, length in zip(rows, bars([row[column] for row in rows]), strict=True):
            row[f"{column}_bar"] = length
    return rows
