"""The table of an ablation as text: each variant beside the reference, on known items and on cold ones.

Belongs here: which numbers such a table shows. An ablation's result is an evaluation's, with variants in the place of
recommenders.
"""

from typing import Any

import polars as pl

from genre_pipeline.contracts.columns import RECOMMENDER
from genre_pipeline.evaluation.labels import metric_label, metric_value, signed
from genre_pipeline.evaluation.metrics import NDCG, RANDOM, RECALL
from genre_pipeline.evaluation.result import VALIDATION_SCHEMA, EvaluationResult
from genre_pipeline.evaluation.segments import COLD_ITEMS

_NOTHING = "–"
_DIGITS = 3
"""Of a difference: two intervals in a row have to fit a log's width."""
Row = dict[str, Any]


def ablation_rows(result: EvaluationResult) -> list[dict[str, str]]:
    """One row a variant, the reference first, then by nDCG; the keys are the headings, the same in every row.

    Differences are those of the variant to the reference on the same users, with their interval.
    The columns on cold items are there where some user took one; "× chance" is the recall by that of random lists.
    What a language model's texts took is told where a variant has such; what validation found, where it was asked.
    """
    others = [name for name in result.recommenders() if name != result.champion]
    return [_row(name, result) for name in (result.champion, *others)]


def ablation_markdown(result: EvaluationResult) -> str:
    """The same rows as a Markdown table."""
    rows = ablation_rows(result)
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def differences(result: EvaluationResult) -> pl.DataFrame:
    """Each variant's nDCG less the reference's, `VALIDATION_SCHEMA`: positive where the variant is better."""
    rows = result.comparisons.filter(metric=NDCG).select(
        pl.col("versus").alias(RECOMMENDER),
        (0.0 - pl.col("difference")).alias("difference"),
        (0.0 - pl.col("high")).alias("low"),
        (0.0 - pl.col("low")).alias("high"),
    )
    return pl.DataFrame(rows, schema=pl.Schema(VALIDATION_SCHEMA))


def chosen_variant(result: EvaluationResult) -> str:
    """What validation says to switch on: the best variant whose interval lies above 0, else the reference."""
    better = result.run.validation.filter(pl.col("low") > 0).sort("difference", RECOMMENDER, descending=[True, False])
    return str(better[RECOMMENDER][0]) if len(better) else str(result.champion)


def choice_line(result: EvaluationResult) -> str:
    """What validation chose, as a sentence; empty where it was not asked."""
    if result.run.validation.is_empty():
        return ""
    chosen = chosen_variant(result)
    why = "no interval of a difference lies above 0" if chosen == result.champion else "the best interval above 0"
    return f"Validation, inside the training part, chose {chosen!r}: {why}."


def ablation_metrics(result: EvaluationResult) -> dict[str, float]:
    """What an experiment tracker keeps: "<variant>/ndcg", "<variant>/recall", and "<variant>/cold_recall".

    Of a variant's name, letters, digits, spaces and `_-.:` stay as they are: trackers take no others.
    """
    known = result.metrics.filter(pl.col("metric").is_in([NDCG, RECALL]))
    cold = result.segments.metrics.filter((pl.col("kind") == COLD_ITEMS) & (pl.col("metric") == RECALL))
    rows = pl.concat(
        [
            known.select(RECOMMENDER, "metric", "value"),
            cold.select(RECOMMENDER, pl.lit(f"cold_{RECALL}").alias("metric"), "value"),
        ]
    )
    named = rows.drop_nulls("value").with_columns(pl.col(RECOMMENDER).str.replace_all(r"[^A-Za-z0-9_.: -]", "-"))
    return {f"{name}/{metric}": value for name, metric, value in named.rows()}


def _row(name: str, result: EvaluationResult) -> dict[str, str]:
    k, own = result.protocol.k, result.metrics.filter(pl.col(RECOMMENDER) == name)
    versus = f"vs {result.champion}"
    cells = {
        "variant": name,
        metric_label(NDCG, k): _with_reach(own, NDCG),
        versus: _difference(result.comparisons, name),
        metric_label(RECALL, k): _with_reach(own, RECALL),
    }
    return cells | _validation_cells(name, result) | _cold_cells(name, result, versus) | _written_cells(name, result)


def _validation_cells(name: str, result: EvaluationResult) -> dict[str, str]:
    validation = result.run.validation
    if validation.is_empty():
        return {}
    rows = validation.filter(pl.col(RECOMMENDER) == name).to_dicts()
    told = _signed_interval(rows[0]["difference"], rows[0]["low"], rows[0]["high"]) if rows else ""
    return {"on validation": f"{told} chosen".strip() if name == chosen_variant(result) else told}


def _written_cells(name: str, result: EvaluationResult) -> dict[str, str]:
    written = result.run.written
    if written.is_empty():
        return {}
    rows = written.filter(pl.col(RECOMMENDER) == name).to_dicts()
    row = rows[0] if rows else {"tokens": 0, "cost": 0.0, "seconds": 0.0}
    return {"tokens": f"{row['tokens']:,}", "cost": f"{row['cost']:.4g}", "seconds": f"{row['seconds']:,.1f}"}


def _cold_cells(name: str, result: EvaluationResult, versus: str) -> dict[str, str]:
    cold = result.segments.metrics.filter((pl.col("kind") == COLD_ITEMS) & (pl.col("metric") == RECALL))
    if cold.is_empty():
        return {}
    own = cold.filter(pl.col(RECOMMENDER) == name)
    chance = cold.filter(pl.col(RECOMMENDER) == RANDOM)["value"]
    value = own["value"].item()
    times = f"{value / chance.item():.1f}" if len(chance) and chance.item() and value is not None else _NOTHING
    heading = f"cold {metric_label(RECALL, cold['k'][0])}"
    differences = result.segments.cold_comparisons.filter(pl.col("metric") == RECALL)
    return {
        heading: _with_reach(own, RECALL),
        "× chance": times,
        f"cold {versus}": _difference(differences, name, metric=RECALL),
    }


def _with_reach(rows: pl.DataFrame, metric: str) -> str:
    row: Row = rows.filter(pl.col("metric") == metric).row(0, named=True)
    reach = "" if row["low"] is None else f" ± {metric_value(metric, (row['high'] - row['low']) / 2)}"
    return f"{metric_value(metric, row['value'])}{reach}"


def _difference(comparisons: pl.DataFrame, name: str, metric: str = NDCG) -> str:
    rows = comparisons.filter((pl.col("metric") == metric) & (pl.col("versus") == name)).to_dicts()
    if not rows or rows[0]["difference"] is None:
        return ""
    row = rows[0]
    # The reference minus the variant: the table says it from the variant's side. 0 - x, so that nothing has no sign.
    mean, low, high = (None if row[end] is None else 0.0 - row[end] for end in ("difference", "high", "low"))
    return _signed_interval(mean, low, high)


def _signed_interval(mean: float | None, low: float | None, high: float | None) -> str:
    reach = "" if low is None or high is None else f" [{signed(low, _DIGITS)}, {signed(high, _DIGITS)}]"
    return f"{signed(mean, _DIGITS)}{reach}"
