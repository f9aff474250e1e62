"""The table of an evaluation as text: plain rows for whatever draws them, and Markdown.

Belongs here: which metrics the table shows.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from genre_pipeline.contracts.columns import RECOMMENDER
from genre_pipeline.evaluation.labels import metric_label, metric_value, p_value, signed
from genre_pipeline.evaluation.result import EvaluationResult

_SHOWN = ("recall", "ndcg", "mrr", "hit", "coverage", "novelty")
_WITH_RANGE = ("recall", "ndcg")


def console_rows(result: EvaluationResult) -> list[dict[str, str]]:
    """One row a recommender, best nDCG first; the keys are the headings, in order, and the same in every row.

    Numbers have four decimals, recall and nDCG half of their interval's width after ±. A metric that was not
    computed is "–". The last column, "vs champion", is the paired difference in nDCG with its Holm-corrected p.
    """
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for row in result.metrics.to_dicts():
        table.setdefault(row[RECOMMENDER], {})[row["metric"]] = row
    versus = {row["versus"]: row for row in result.comparisons.to_dicts() if row["metric"] == "ndcg"}
    return [_row(name, table[name], versus.get(name), result) for name in result.recommenders()]


def markdown_table(result: EvaluationResult) -> str:
    """The same rows as a Markdown table."""
    return markdown_rows(console_rows(result))


def markdown_rows(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows with the same keys as a Markdown table, the keys its headings; what is in a cell stays text."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(map(_in_a_cell, cells))} |" for cells in lines)


def _in_a_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _row(
    name: str, metrics: dict[str, dict[str, Any]], versus: dict[str, Any] | None, result: EvaluationResult
) -> dict[str, str]:
    cells = {
        metric_label(metric, result.protocol.k): _written(metrics.get(metric), metric in _WITH_RANGE)
        for metric in _SHOWN
    }
    return {"recommender": name, **cells, f"vs {result.champion}": _difference(versus)}


def _written(cell: dict[str, Any] | None, with_range: bool) -> str:
    if cell is None or cell["value"] is None:
        return "–"
    metric = cell["metric"]
    has_range = with_range and cell["low"] is not None
    reach = f" ± {metric_value(metric, (cell['high'] - cell['low']) / 2)}" if has_range else ""
    return f"{metric_value(metric, cell['value'])}{reach}"


def _difference(versus: dict[str, Any] | None) -> str:
    if versus is None or versus["difference"] is None:
        return ""
    # The champion minus the other: the table says it from the other's side.
    return f"{signed(-versus['difference'])} (p {p_value(versus['p_holm'])})"
