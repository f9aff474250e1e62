import json
import math
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from genre_pipeline.contracts.errors import ConfigError, ContractError
from genre_pipeline.evaluation.metrics import ACCURACY, per_user_metrics, top_ranks

SECOND = 1 / math.log2(3)
"""Discount of rank 2."""


def lists(rows: list[tuple[str, str, list[str]]]) -> pl.DataFrame:
    """A row for each place of each (recommender, user, items) list."""
    flat = [(name, user, item, rank) for name, user, items in rows for rank, item in enumerate(items, start=1)]
    schema = {"recommender": pl.String, "user_id": pl.String, "item_id": pl.String, "rank": pl.UInt32}
    return pl.DataFrame(flat, schema=schema, orient="row").with_columns(pl.lit(0.0, pl.Float32).alias("score"))


def relevant(rows: dict[str, list[str]]) -> pl.DataFrame:
    flat = [(user, item) for user, items in rows.items() for item in items]
    return pl.DataFrame(flat, schema={"user_id": pl.String, "item_id": pl.String}, orient="row")


def test_whole_frame_of_two_recommenders_and_three_users():
    recommendations = lists(
        [
            ("good", "ann", ["a", "b", "x"]),
            ("good", "bob", ["x", "c", "y"]),
            ("poor", "ann", ["x", "y", "a"]),
            ("poor", "stranger", ["a"]),
        ]
    )
    truth = relevant({"ann": ["a", "b"], "bob": ["c", "d", "e"], "cem": ["f"]})

    judged = per_user_metrics(recommendations, truth, 2)

    expected = pl.DataFrame(
        {
            "recommender": ["good", "good", "good", "poor", "poor", "poor"],
            "user_id": ["ann", "bob", "cem", "ann", "bob", "cem"],
            "recall": [1.0, 1 / 3, 0.0, 0.0, 0.0, 0.0],
            "ndcg": [1.0, SECOND / (1 + SECOND), 0.0, 0.0, 0.0, 0.0],
            "mrr": [1.0, 0.5, 0.0, 0.0, 0.0, 0.0],
            "hit": [1.0, 1.0, 0.0, 0.0, 0.0, 0.0],
            "map": [1.0, 0.25, 0.0, 0.0, 0.0, 0.0],
        }
    )
    assert_frame_equal(judged, expected, abs_tol=1e-12)


def test_truth_longer_than_k_leaves_recall_below_one_but_ndcg_and_map_at_one():
    judged = per_user_metrics(lists([("r", "u", ["a", "b"])]), relevant({"u": ["a", "b", "c", "d"]}), 2)
    assert judged.select(ACCURACY).row(0) == (0.5, 1.0, 1.0, 1.0, 1.0)


def test_named_recommender_without_a_list_counts_as_zero():
    judged = per_user_metrics(lists([("r", "u", ["a"])]), relevant({"u": ["a"]}), 5, recommenders=["r", "silent"])
    assert judged.select("recommender", "recall").rows() == [("r", 1.0), ("silent", 0.0)]


def test_repeats_in_the_truth_count_once():
    once = per_user_metrics(lists([("r", "u", ["a"])]), relevant({"u": ["a", "b"]}), 5)
    twice = per_user_metrics(lists([("r", "u", ["a"])]), relevant({"u": ["a", "a", "b"]}), 5)
    assert_frame_equal(once, twice)


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(k):
    with pytest.raises(ConfigError, match=f"k is {k}"):
        per_user_metrics(lists([("r", "u", ["a"])]), relevant({"u": ["a"]}), k)


def test_empty_truth_is_refused():
    with pytest.raises(ContractError, match="no rows"):
        per_user_metrics(lists([("r", "u", ["a"])]), relevant({}), 5)


def test_repeated_item_names_the_list():
    with pytest.raises(ContractError, match="repeats") as caught:
        per_user_metrics(lists([("r", "u", ["a", "b"]), ("r", "v", ["a", "a"])]), relevant({"u": ["a"]}), 5)
    assert caught.value.culprits == (("r", "v"),)


def test_repeated_rank_is_refused():
    two_firsts = lists([("r", "u", ["a"]), ("r", "u", ["b"])])
    with pytest.raises(ContractError, match="repeats"):
        top_ranks(two_firsts, 5)


def test_a_repeat_below_the_cut_does_no_harm():
    assert len(top_ranks(lists([("r", "u", ["a", "b", "a"])]), 2)) == 2


def reference(ranked: list[str], truth: set[str], k: int) -> tuple[float, ...]:
    """The definitions again, one user, in plain Python."""
    hits = [item in truth for item in ranked[:k]]
    gain = sum(hit / math.log2(place + 2) for place, hit in enumerate(hits))
    ideal = sum(1 / math.log2(place + 2) for place in range(min(k, len(truth))))
    precision = sum(sum(hits[: place + 1]) / (place + 1) for place, hit in enumerate(hits) if hit)
    first = next((1 / (place + 1) for place, hit in enumerate(hits) if hit), 0.0)
    return (sum(hits) / len(truth), gain / ideal, first, float(any(hits)), precision / min(k, len(truth)))


ITEMS = [f"i{number}" for number in range(12)]
a_list = st.lists(st.sampled_from(ITEMS), unique=True, max_size=12)
a_truth = st.lists(st.sampled_from(ITEMS), unique=True, min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(a_list, a_truth), min_size=1, max_size=4), st.integers(1, 12), st.randoms())
def test_equals_the_reference_stays_in_bounds_and_ignores_row_order(users, k, random):
    recommendations = lists([("r", f"u{n}", ranked) for n, (ranked, _) in enumerate(users)])
    truth = relevant({f"u{n}": items for n, (_, items) in enumerate(users)})
    judged = per_user_metrics(recommendations, truth, k, recommenders=["r"])

    expected = np.array([reference(ranked, set(items), k) for ranked, items in users])
    np.testing.assert_allclose(judged.select(ACCURACY).to_numpy(), expected, rtol=0, atol=1e-9)
    assert judged.select(pl.all_horizontal(pl.col(ACCURACY).is_between(0, 1)).all()).item()

    order = list(range(len(recommendations)))
    random.shuffle(order)
    shuffled = per_user_metrics(recommendations[order], truth.reverse(), k, recommenders=["r"])
    assert_frame_equal(judged, shuffled, check_exact=True)


@settings(max_examples=40, deadline=None)
@given(a_truth, st.integers(1, 12))
def test_perfect_list_scores_one(items, k):
    judged = per_user_metrics(lists([("r", "u", items)]), relevant({"u": items}), k)
    recall, *others = judged.select(ACCURACY).row(0)
    assert recall == min(1.0, k / len(items))
    assert others == [1.0, 1.0, 1.0, 1.0]


RANX = """
import json, sys
from ranx import Qrels, Run, evaluate

names = ["recall@10", "ndcg@10", "mrr@10", "hit_rate@10"]
data = json.load(sys.stdin)
scores = evaluate(Qrels(data["truth"]), Run(data["ranked"]), names, return_mean=False)
print(json.dumps({name: scores[name].tolist() for name in names}))
"""


@pytest.mark.slow
def test_equals_ranx_on_random_lists():
    pytest.importorskip("numba")
    rng = np.random.default_rng(3)
    users = [f"u{n:03d}" for n in range(120)]
    ranked = {user: [f"i{n}" for n in rng.permutation(40)[:10]] for user in users}
    truth = {user: [f"i{n}" for n in rng.permutation(40)[: rng.integers(1, 15)]] for user in users}
    judged = per_user_metrics(lists([("r", user, ranked[user]) for user in users]), relevant(truth), 10)
    data = {
        "truth": {user: dict.fromkeys(items, 1) for user, items in truth.items()},
        "ranked": {user: {item: 10.0 - n for n, item in enumerate(items)} for user, items in ranked.items()},
    }
    # In a process of its own, uncompiled: compiling the library's kernels takes minutes, running them plain does not.
    plain = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RANX], input=json.dumps(data), capture_output=True, text=True, env=plain, check=True
    )
    theirs = json.loads(done.stdout.splitlines()[-1])
    for ours, name in (("recall", "recall@10"), ("ndcg", "ndcg@10"), ("mrr", "mrr@10"), ("hit", "hit_rate@10")):
        np.testing.assert_allclose(judged[ours].to_numpy(), theirs[name], rtol=0, atol=1e-9)
