import numpy as np
import polars as pl
import pytest

from genre_pipeline.contracts.training_set import build_training_set
from genre_pipeline.recommenders.histories import recency_weighted_histories
from tests.recommenders import tiny_world

ROWS = [
    ("a", "i00", tiny_world.AS_OF - tiny_world.timedelta(hours=5)),
    ("a", "i01", tiny_world.AS_OF - tiny_world.timedelta(hours=4)),
    ("b", "i01", tiny_world.AS_OF - tiny_world.timedelta(hours=3)),
    ("a", "i00", tiny_world.AS_OF - tiny_world.timedelta(hours=2)),
    ("a", "i02", tiny_world.AS_OF - tiny_world.timedelta(hours=1)),
]


@pytest.mark.parametrize(
    ("half_life", "expected"),
    [(None, [[1, 1, 1], [0, 1, 0]]), (1.0, [[0.5, 0.25, 1], [0, 1, 0]]), (2.0, [[0.5**0.5, 0.5, 1], [0, 1, 0]])],
)
def test_weights_halve_from_the_newest_back(half_life: float | None, expected: list[list[float]]) -> None:
    histories = recency_weighted_histories(tiny_world.training_set(ROWS), half_life)
    assert histories.dtype == np.float32
    np.testing.assert_allclose(histories.toarray()[:, :3], expected, rtol=1e-6)
    assert not histories.toarray()[:, 3:].any()


def test_an_events_weight_multiplies_its_age() -> None:
    frame = tiny_world.interactions(ROWS).with_columns(event=pl.Series(["buy", "view", "view", "view", "view"]))
    data = build_training_set(frame, tiny_world.items(), as_of=tiny_world.AS_OF, event_weights={"buy": 8.0})
    # Bought three interactions ago (8 / 8), seen again one ago (1 / 2): the larger counts.
    assert recency_weighted_histories(data, 1.0).toarray()[0, :3].tolist() == [1.0, 0.25, 1.0]
