"""Pictures of a training, as PNG bytes. Curves in, bytes out; where they are kept is for others to decide."""

from io import BytesIO

import polars as pl

from genre_pipeline.training.curves import METRIC_PREFIX


def training_curve_figure(epochs: pl.DataFrame) -> bytes:
    """Training loss, with a validation loss where there is one, and the other validation metrics by epoch.

    `epochs` as `TrainingResult` has them: epoch, train_loss, and columns `validation_<metric>`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    loss, quality = figure.subplots(1, 2)
    measured = {name: epochs.drop_nulls(name) for name in epochs.columns if name.startswith(METRIC_PREFIX)}
    losses = {name: frame for name, frame in measured.items() if name.endswith("loss") and len(frame)}
    metrics = {name: frame for name, frame in measured.items() if name not in losses and len(frame)}
    for name, frame in {"train_loss": epochs, **losses}.items():
        loss.plot(frame["epoch"].to_list(), frame[name].to_list(), marker="o", markersize=3, label=_label(name))
    loss.set(title="Loss" if losses else "Training loss", xlabel="epoch", ylabel="loss")
    for name, frame in metrics.items():
        quality.plot(frame["epoch"].to_list(), frame[name].to_list(), marker="o", markersize=3, label=_label(name))
    quality.set(title="Validation" if metrics else "Not validated", xlabel="epoch")
    for axes, has_lines in ((loss, True), (quality, bool(metrics))):
        axes.grid(alpha=0.3)
        if has_lines:
            axes.legend()
    picture = BytesIO()
    # Without a fixed Software entry the bytes would change with the plotting library's version only.
    figure.savefig(picture, format="png", dpi=110, metadata={"Software": None})
    return picture.getvalue()


def _label(name: str) -> str:
    return name.removeprefix(METRIC_PREFIX).replace("_", " ").replace("ndcg", "nDCG@10")
