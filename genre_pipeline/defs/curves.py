"""What every training asset tells: progress, a check of the curve, its picture."""

import base64

import dagster as dg
import polars as pl

from genre_pipeline.defs.materialise import passed
from genre_pipeline.training.curves import curve_problems
from genre_pipeline.training.figures import training_curve_figure
from genre_pipeline.training.loop import Report

CURVE_CLAIM = "curve_is_finite_and_falls"


def curve_check(asset: str, epochs: pl.DataFrame) -> dg.AssetCheckResult:
    """The claim `CURVE_CLAIM`: the loss is finite, falls and has not run away; `epochs` of a `TrainingResult`."""
    problems, loss = curve_problems(epochs), epochs["train_loss"]
    first, last = (float(loss[0]), float(loss[-1])) if len(loss) else (float("nan"), float("nan"))
    return passed(asset, CURVE_CLAIM, not problems, problems=", ".join(problems), first=first, last=last)


def curve_picture(epochs: pl.DataFrame) -> dg.MetadataValue:
    """The curves as the UI shows them."""
    encoded = base64.b64encode(training_curve_figure(epochs)).decode()
    return dg.MetadataValue.md(f"![curves of the training](data:image/png;base64,{encoded})")


def teller(context: dg.AssetExecutionContext) -> Report:
    """Progress as lines of the run's log."""
    return lambda row: context.log.info(", ".join(f"{name} {value:.4g}" for name, value in row.items()))
