"""The picture of online metrics, as PNG bytes: click-through rate by day and by rank, a line a variant."""

from io import BytesIO
from typing import Any

import polars as pl

from genre_pipeline.contracts.columns import DAY, RANK, VARIANT


def feedback_figure(metrics: pl.DataFrame, ranks: pl.DataFrame) -> bytes:
    """`metrics` (schema `OnlineMetrics`) and `ranks` as `rank_metrics` gives them; bars are intervals."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    by_day, by_rank = figure.subplots(1, 2)
    _lines(by_day, metrics, DAY)
    _lines(by_rank, ranks, RANK)
    by_day.set(title="Click-through rate by day", ylabel="CTR", ylim=(0, None))
    by_day.tick_params(axis="x", rotation=45)
    by_rank.set(title="Click-through rate by rank", xlabel="rank", ylim=(0, None))
    picture = BytesIO()
    # Without a fixed Software entry the bytes would change with the plotting library's version only.
    figure.savefig(picture, format="png", dpi=110, metadata={"Software": None})
    return picture.getvalue()


def _lines(axes: Any, rates: pl.DataFrame, place: str) -> None:
    for part in rates.sort(VARIANT, place).partition_by(VARIANT, maintain_order=True):
        ctr, low, high = (part[name].to_list() for name in ("ctr", "low", "high"))
        below = [0.0 if end is None else value - end for value, end in zip(ctr, low, strict=True)]
        above = [0.0 if end is None else end - value for value, end in zip(ctr, high, strict=True)]
        # A percentile interval may lie beside the rate itself.
        reach = [[max(0.0, end) for end in ends] for ends in (below, above)]
        axes.errorbar(
            part[place].to_list(), ctr, yerr=reach, marker="o", markersize=3, capsize=2, label=part[VARIANT][0]
        )
    axes.grid(alpha=0.3)
    axes.legend()
