from io import BytesIO

import polars as pl
from PIL import Image

from genre_pipeline.training.figures import training_curve_figure


def _curves(validated: bool) -> pl.DataFrame:
    ndcg = [None, 0.1, 0.2] if validated else [None, None, None]
    columns = {"epoch": [1, 2, 3], "train_loss": [3.0, 2.0, 1.5], "validation_ndcg": ndcg}
    return pl.DataFrame(columns, schema_overrides={"validation_ndcg": pl.Float64})


def test_curves_become_a_picture_that_is_the_same_each_time() -> None:
    picture = training_curve_figure(_curves(True))
    image = Image.open(BytesIO(picture))
    assert (image.format, image.size) == ("PNG", (990, 385))
    assert picture == training_curve_figure(_curves(True))


def test_a_training_without_validation_has_a_picture_too() -> None:
    assert training_curve_figure(_curves(False)) != training_curve_figure(_curves(True))
