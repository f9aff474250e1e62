import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from polars.testing import assert_frame_equal

from genre_pipeline.recommenders.base import Recommender, mask_unseen, recommend, top_k, user_blocks
from genre_pipeline.recommenders.popularity import PopularityConfig
from tests.recommenders import tiny_world

FEW_VALUES = st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 0.5, 1.0])


class Fixed(Recommender):
    """Gives one row of scores to everybody."""

    name = "fixed"

    def __init__(self, row: np.ndarray) -> None:
        self.config = PopularityConfig()
        self.row = row

    def fit(self, data: object, *, seed: int) -> "Fixed":
        return self

    def score(self, users: np.ndarray) -> np.ndarray:
        return np.repeat(self.row[None, :].astype(np.float32), len(users), axis=0)


@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 30)), elements=FEW_VALUES), st.integers(1, 35)
)
def test_top_k_is_a_stable_full_sort(scores: np.ndarray, k: int) -> None:
    where, best = top_k(scores.copy(), k)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    expected_best = np.take_along_axis(scores, expected, axis=1)
    np.testing.assert_array_equal(best, expected_best)
    # Entries of -inf are no candidates: which of them fill a row that has run out is nobody's business.
    real = np.isfinite(expected_best)
    np.testing.assert_array_equal(where[real], expected[real])


def test_top_k_of_many_ties_in_a_wide_row() -> None:
    scores = np.random.default_rng(0).integers(0, 4, (50, 3000)).astype(np.float32)
    where, _ = top_k(scores, 20)
    np.testing.assert_array_equal(where, np.argsort(-scores, axis=1, kind="stable")[:, :20])


def test_mask_unseen_hides_what_a_user_has_had_and_what_may_not_be_shown() -> None:
    data = tiny_world.training_set()
    allowed = data.is_candidate.copy()
    allowed[data.item_positions(pl.Series(["i11"]))] = False
    users = data.user_positions(pl.Series(["u03", "u00"]))
    scores = np.zeros((2, data.n_items), dtype=np.float32)
    shown = mask_unseen(scores, data, users, allowed)
    assert shown is scores
    names = np.array(data.item_ids.to_list())
    assert names[np.isfinite(shown[0])].tolist() == ["i00", "i01", "i02", "i03", "i05", "i06", "i90", "i91"]
    assert names[np.isfinite(shown[1])].tolist() == ["i05", "i06", "i07", "i08", "i09", "i10", "i90", "i91"]


def test_a_whole_small_frame() -> None:
    data = tiny_world.training_set()
    row = np.zeros(data.n_items)
    row[data.item_positions(pl.Series(["i06", "i90"]))] = [2.0, 1.0]
    popular = np.arange(data.n_items, dtype=np.float32)
    asked = pl.Series("user_id", ["u03", "nobody", "u00"])
    found = recommend(Fixed(row), data, asked, k=3, cold_users="popular", popular=popular)
    assert_frame_equal(
        found,
        pl.DataFrame(
            [
                ("u03", "i06", 1, 2.0), ("u03", "i90", 2, 1.0), ("u03", "i00", 3, 0.0),
                ("nobody", "i91", 1, 13.0), ("nobody", "i90", 2, 12.0), ("nobody", "i11", 3, 11.0),
                ("u00", "i06", 1, 2.0), ("u00", "i90", 2, 1.0), ("u00", "i05", 3, 0.0),
            ],
            schema={"user_id": pl.String, "item_id": pl.String, "rank": pl.UInt32, "score": pl.Float32},
            orient="row",
        ),
    )  # fmt: skip


def test_items_without_an_opinion_stay_out_of_the_list() -> None:
    data = tiny_world.training_set()
    row = np.full(data.n_items, -np.inf)
    row[-1] = 0.0
    found = recommend(Fixed(row), data, pl.Series(["u00"]), k=5, cold_users="omit", popular=row)
    assert found["item_id"].to_list() == [tiny_world.BLANK]


def test_nobody_asked_nobody_listed() -> None:
    data = tiny_world.training_set()
    asked = pl.Series("user_id", [], dtype=pl.String)
    found = recommend(Fixed(np.zeros(data.n_items)), data, asked, k=5, cold_users="error", popular=np.zeros(1))
    assert found.shape == (0, 4)
    assert found.schema["rank"] == pl.UInt32


def test_progress_ends_with_all_known_users() -> None:
    data = tiny_world.training_set()
    seen: list[tuple[int, int]] = []
    asked = pl.concat([data.user_ids, pl.Series("user_id", ["nobody"])])
    recommend(
        Fixed(np.zeros(data.n_items)), data, asked, k=1, cold_users="omit", popular=np.zeros(1),
        report=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen == [(tiny_world.N_USERS, tiny_world.N_USERS)]


@pytest.mark.parametrize(("n", "sizes"), [(0, []), (4, [4]), (5, [4, 1])])
def test_users_come_in_blocks(n: int, sizes: list[int]) -> None:
    blocks = list(user_blocks(np.arange(n), 4))
    assert [len(block) for block in blocks] == sizes
    assert np.concatenate([np.arange(0), *blocks]).tolist() == list(range(n))
