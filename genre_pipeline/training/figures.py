"""Pictures of a training, as PNG bytes. Curves in, bytes out; where they are kept is for others to decide."""

from io import BytesIO

import polars as pl


def training_curve_figure(curves: pl.DataFrame) -> bytes:
    """Training loss and validation nDCG@10 by epoch, side by side; `curves` as `TrainedSequence` has them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    loss, quality = figure.subplots(1, 2)
    loss.plot(curves["epoch"].to_list(), curves["train_loss"].to_list(), marker="o", markersize=3)
    loss.set(title="Training loss", xlabel="epoch", ylabel="cross-entropy")
    validated = curves.drop_nulls("validation_ndcg")
    quality.plot(validated["epoch"].to_list(), validated["validation_ndcg"].to_list(), marker="o", markersize=3)
    quality.set(title="Validation nDCG@10" if len(validated) else "Not validated", xlabel="epoch", ylabel="nDCG@10")
    for axes in (loss, quality):
        axes.grid(alpha=0.3)
    picture = BytesIO()
    # Without a fixed Software entry the bytes would change with the plotting library's version only.
    figure.savefig(picture, format="png", dpi=110, metadata={"Software": None})
    return picture.getvalue()
