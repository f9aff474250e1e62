import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genre_pipeline.training.curves import STEP_CURVE, Curves, curve_problems


def _epochs(*loss: float) -> pl.DataFrame:
    return pl.DataFrame(
        {"epoch": range(1, len(loss) + 1), "train_loss": loss}, schema_overrides={"train_loss": pl.Float64}
    )


@pytest.mark.parametrize(
    ("loss", "problems"),
    [
        ((3.0, 2.0, 1.0), []),
        ((3.0,), []),
        ((3.0, 3.1), []),
        ((3.0, 3.2), ["not falling"]),
        ((3.0, math.nan), ["not finite"]),
        ((3.0, math.inf, 1.0), ["not finite"]),
        ((), ["not finite"]),
        ((3.0, 0.5, 2.5), ["diverged"]),
        ((1.0, 0.2, 4.0), ["not falling", "diverged"]),
        ((-1.0, -2.0), []),
    ],
)
def test_curves_are_finite_falling_and_do_not_run_away(loss: tuple[float, ...], problems: list[str]) -> None:
    assert curve_problems(_epochs(*loss)) == problems


_ROW = st.tuples(st.integers(1, 9), st.integers(1, 9), *[st.none() | st.floats(allow_nan=False, width=64)] * 6)


@given(st.lists(_ROW, max_size=5))
def test_steps_come_back_from_a_tensor_as_they_were(rows: list[tuple]) -> None:
    curves, again = Curves(steps=list(rows)), Curves()
    again.steps_from(curves.to_tensor())
    assert again.steps == curves.steps
    assert again.step_frame().schema == STEP_CURVE


def test_epochs_have_a_column_a_metric() -> None:
    rows = [
        {"epoch": 1, "train_loss": 2.0, "seconds": 1.0},
        {"epoch": 2, "train_loss": 1.0, "score": 0.5, "seconds": 2.0},
    ]
    frame = Curves(epochs=rows).epoch_frame()
    assert frame.columns == ["epoch", "train_loss", "score", "seconds"]
    assert frame["score"].to_list() == [None, 0.5]
