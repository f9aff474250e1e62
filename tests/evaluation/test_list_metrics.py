import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scipy import sparse

from genre_pipeline.contracts.errors import ContractError
from genre_pipeline.evaluation.list_metrics import (
    ListMembership,
    catalogue_metrics,
    category_vectors,
    intra_list_diversity,
    list_membership,
    miscalibration,
    novelty_and_popularity,
)


def lists(rows: list[tuple[str, str, list[str]]]) -> pl.DataFrame:
    flat = [(name, user, item, rank) for name, user, items in rows for rank, item in enumerate(items, start=1)]
    schema = {"recommender": pl.String, "user_id": pl.String, "item_id": pl.String, "rank": pl.UInt32}
    return pl.DataFrame(flat, schema=schema, orient="row")


ITEMS = pl.DataFrame(
    {
        "item_id": ["a", "b", "c", "d"],
        "popularity": [8, 4, 4, 0],
        "categories": [["war"], ["war", "art"], ["art"], []],
    },
    schema_overrides={"categories": pl.List(pl.String)},
)


def members(rows: pl.DataFrame, k: int = 10) -> ListMembership:
    return list_membership(rows, ITEMS["item_id"], k)


TWO = lists([("r", "u", ["a", "b"]), ("r", "v", ["d", "c"]), ("s", "u", ["a"])])


def test_novelty_and_popularity_of_whole_lists():
    expected = pl.DataFrame(
        {
            "recommender": ["r", "r", "s"],
            "user_id": ["u", "v", "u"],
            "novelty": [1.5, 3.0, 1.0],  # shares 8/16, 4/16; 1/16 (none counts as one), 4/16; 8/16
            "average_popularity": [6.0, 2.0, 8.0],
        }
    )
    assert_frame_equal(novelty_and_popularity(members(TWO), ITEMS), expected)


def test_diversity_by_categories():
    expected = pl.DataFrame(
        {
            "recommender": ["r", "r", "s"],
            "user_id": ["u", "v", "u"],
            # war against {war, art}: cosine 1/sqrt(2). d has no category, a list of one has no pair.
            "diversity": [1 - 1 / math.sqrt(2), None, None],
        }
    )
    result = intra_list_diversity(members(TWO), category_vectors(ITEMS))
    assert_frame_equal(result, expected, abs_tol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_diversity_equals_the_mean_over_pairs(seed):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(9, 4)).astype(np.float32)
    vectors[rng.integers(9)] = 0
    ids = pl.Series("item_id", [f"i{n}" for n in range(9)])
    chosen = rng.permutation(9)[:5]
    membership = list_membership(lists([("r", "u", [f"i{n}" for n in chosen])]), ids, 10)
    result = intra_list_diversity(membership, vectors)
    rows = [vectors[n] / np.linalg.norm(vectors[n]) for n in chosen if np.linalg.norm(vectors[n])]
    pairs = [1 - float(a @ b) for place, a in enumerate(rows) for b in rows[place + 1 :]]
    assert result["diversity"].item() == pytest.approx(np.mean(pairs), abs=1e-5)
    thin = intra_list_diversity(membership, sparse.csr_matrix(vectors))
    assert thin["diversity"].item() == pytest.approx(result["diversity"].item(), abs=1e-5)


def test_miscalibration_is_zero_for_the_same_mix_and_the_divergence_otherwise():
    history = pl.DataFrame({"user_id": ["u", "u", "v", "w"], "item_id": ["a", "c", "a", "d"]})
    rows = lists([("r", "u", ["b"]), ("r", "v", ["c"]), ("r", "w", ["a"]), ("r", "x", ["a"])])
    result = miscalibration(members(rows), history, ITEMS)
    # u: half war, half art, in history and list. v: all war, a list of art only: log(1 / 0.01).
    # w's history has no category, x has no history: no row.
    expected = pl.DataFrame({"recommender": ["r", "r"], "user_id": ["u", "v"], "miscalibration": [0.0, math.log(100)]})
    assert_frame_equal(result, expected, abs_tol=1e-12)


def test_miscalibration_of_a_partial_mix():
    history = pl.DataFrame({"user_id": ["u", "u"], "item_id": ["a", "c"]})
    result = miscalibration(members(lists([("r", "u", ["a"])])), history, ITEMS)
    expected = 0.5 * math.log(0.5 / (0.99 * 1 + 0.01 * 0.5)) + 0.5 * math.log(0.5 / (0.01 * 0.5))
    assert result["miscalibration"].item() == pytest.approx(expected)


def test_coverage_and_gini_of_whole_lists():
    rows = lists([("all", "u", ["a", "b"]), ("all", "v", ["c", "d"]), ("one", "u", ["a"]), ("one", "v", ["a"])])
    result = catalogue_metrics(rows, ITEMS["item_id"], 10)
    expected = pl.DataFrame(
        {
            "recommender": ["all", "all", "one", "one"],
            "metric": ["coverage", "gini", "coverage", "gini"],
            "value": [1.0, 0.0, 0.25, 0.75],
            "low": [1.0, None, 0.25, None],
            "high": [1.0, None, 0.25, None],
            "users": [2, 2, 2, 2],
        },
        schema_overrides={"users": pl.UInt32},
    )
    assert_frame_equal(result, expected, check_dtypes=False)


def test_coverage_interval_equals_the_jackknife_done_by_hand():
    rng = np.random.default_rng(0)
    rows = [("r", f"u{n}", [f"i{m}" for m in rng.permutation(20)[:3]]) for n in range(7)]
    catalogue = pl.Series([f"i{n}" for n in range(20)])
    row = catalogue_metrics(lists(rows), catalogue, 3).filter(pl.col("metric") == "coverage").row(0, named=True)
    without = [
        len({item for n, (_, _, items) in enumerate(rows) if n != left for item in items}) / 20 for left in range(7)
    ]
    deviation = math.sqrt(6 / 7 * sum((value - np.mean(without)) ** 2 for value in without))
    assert row["high"] - row["value"] == pytest.approx(1.959964 * deviation, rel=1e-6)


def test_ranks_beyond_k_do_not_count():
    rows = lists([("r", "u", ["a", "b", "c"])])
    assert catalogue_metrics(rows, ITEMS["item_id"], 1)["value"].to_list() == [0.25, 0.75]
    assert novelty_and_popularity(members(rows, 1), ITEMS)["average_popularity"].to_list() == [8.0]


@pytest.mark.parametrize(
    "measure",
    [
        members,
        lambda rows: catalogue_metrics(rows, ITEMS["item_id"], 10),
    ],
)
def test_an_item_outside_the_catalogue_is_named(measure):
    with pytest.raises(ContractError, match="catalogue") as caught:
        measure(lists([("r", "u", ["a", "ghost"])]))
    assert caught.value.culprits == ("ghost",)
