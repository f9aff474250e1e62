import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from genre_pipeline.contracts.errors import ConfigError, ContractError
from genre_pipeline.evaluation.intervals import (
    IntervalConfig,
    compare,
    holm,
    percentile_interval,
    resampled_means,
    summary,
)


def judged(values: dict[str, list[float | None]], metric: str = "ndcg") -> pl.DataFrame:
    frames = [
        pl.DataFrame(
            {"recommender": name, "user_id": [f"u{n:05d}" for n in range(len(column))], metric: column},
            schema_overrides={metric: pl.Float64},
        )
        for name, column in values.items()
    ]
    return pl.concat(frames)


def test_summary_of_constant_values_is_a_whole_frame():
    table = summary(judged({"b": [0.5] * 12, "a": [0.25] * 12}), seed=0)
    expected = pl.DataFrame(
        {
            "recommender": ["a", "b"],
            "metric": ["ndcg", "ndcg"],
            "value": [0.25, 0.5],
            "low": [0.25, 0.5],
            "high": [0.25, 0.5],
            "users": [12, 12],
        },
        schema_overrides={"users": pl.UInt32},
    )
    assert_frame_equal(table, expected)


def test_missing_values_do_not_count_and_few_users_have_no_interval():
    table = summary(judged({"a": [1.0, None, 0.0, None] * 5, "b": [None] * 20}), seed=0)
    a, b = table.rows(named=True)
    assert (a["value"], a["users"]) == (0.5, 10)
    assert a["low"] < 0.5 < a["high"]
    assert (b["value"], b["low"], b["high"], b["users"]) == (None, None, None, 0)
    few = summary(judged({"a": [1.0, 0.0, 1.0]}), seed=0)
    assert few.select("value", "low", "high").row(0) == (pytest.approx(2 / 3), None, None)


def test_order_of_rows_does_not_matter():
    rng = np.random.default_rng(0)
    table = judged({name: rng.random(50).tolist() for name in "abc"})
    shuffled = table.sample(fraction=1.0, shuffle=True, seed=1)
    assert_frame_equal(summary(table, seed=5), summary(shuffled, seed=5), check_exact=True)
    assert_frame_equal(compare(table, "b", seed=5), compare(shuffled, "b", seed=5), check_exact=True)


def test_block_size_does_not_change_the_result_and_the_seed_does():
    values = np.random.default_rng(1).random((37, 3))
    whole = resampled_means(values, seed=4, config=IntervalConfig(resamples=101))
    blocks = resampled_means(values, seed=4, config=IntervalConfig(resamples=101, block_cells=100))
    np.testing.assert_allclose(whole, blocks, rtol=0, atol=1e-12)
    other = resampled_means(values, seed=5, config=IntervalConfig(resamples=101))
    assert not np.allclose(whole, other)


def test_resampled_means_have_the_bootstrap_standard_error():
    values = np.random.default_rng(2).normal(size=(400, 1))
    means = resampled_means(values, seed=0, config=IntervalConfig(resamples=4000))
    assert means.std() == pytest.approx(values.std() / np.sqrt(400), rel=0.05)


def test_interval_covers_the_true_mean_at_about_its_rate():
    rng = np.random.default_rng(11)
    # 400 experiments side by side, each a sample of 80 users with a true mean of 0.3.
    samples = rng.binomial(1, 0.3, size=(80, 400)).astype(np.float64)
    means = resampled_means(samples, seed=0, config=IntervalConfig(resamples=1000))
    low, high = percentile_interval(means, 0.95)
    covered = np.mean((low <= 0.3) & (high >= 0.3))
    assert 0.91 <= covered <= 0.98


def test_false_alarms_of_the_paired_test_come_at_about_their_rate():
    rng = np.random.default_rng(12)
    names = [f"r{n:03d}" for n in range(300)]
    table = judged({"hybrid": [0.0] * 100, **{name: rng.normal(size=100).tolist() for name in names}})
    p = compare(table, seed=0)["p"]
    assert 0.02 <= (p < 0.05).mean() <= 0.09


def test_compare_knows_ahead_from_behind_and_from_equal():
    rng = np.random.default_rng(3)
    base = rng.random(200)
    table = judged(
        {
            "hybrid": base.tolist(),
            "same": base.tolist(),
            "worse": (base - 0.1 + rng.normal(0, 0.05, 200)).tolist(),
            "better": (base + 0.1 + rng.normal(0, 0.05, 200)).tolist(),
        }
    )
    result = compare(table, seed=0)
    assert result.columns == ["versus", "difference", "low", "high", "p", "p_holm"]
    assert result["versus"].to_list() == ["better", "same", "worse"]
    better, same, worse = result.rows(named=True)
    assert same == {"versus": "same", "difference": 0, "low": 0, "high": 0, "p": 1, "p_holm": 1}
    assert better["high"] < 0 < worse["low"]
    assert better["p"] == worse["p"] == pytest.approx(1 / 1001)
    assert better["p_holm"] == worse["p_holm"] == pytest.approx(3 / 1001)


def test_compare_of_few_users_has_a_difference_and_no_p():
    row = compare(judged({"hybrid": [1.0, 1.0], "other": [0.0, 0.5]}), seed=0).row(0, named=True)
    assert row == {"versus": "other", "difference": 0.75, "low": None, "high": None, "p": None, "p_holm": None}


def test_a_champion_alone_gives_an_empty_comparison():
    result = compare(judged({"hybrid": [1.0] * 20}), seed=0)
    assert (result.height, result.columns[0]) == (0, "versus")


def test_holm_on_a_known_example():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.5, np.nan, 0.9])), [1.0, np.nan, 1.0])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_plain_and_bonferroni_and_keeps_the_order(values):
    p = np.array(values)
    adjusted = holm(p)
    assert np.all(adjusted >= p)
    assert np.all(adjusted <= np.minimum(1, p * len(p)) + 1e-12)
    assert np.all(np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0)


def test_unknown_champion_is_named():
    with pytest.raises(ConfigError, match="hybrid"):
        compare(judged({"a": [1.0], "b": [0.0]}), seed=0)


def test_different_users_are_refused():
    uneven = pl.concat([judged({"a": [1.0, 0.0]}), judged({"b": [1.0]})])
    with pytest.raises(ContractError, match="same users"):
        summary(uneven, seed=0)
    other = judged({"b": [1.0, 0.0]}).with_columns(pl.col("user_id") + "x")
    with pytest.raises(ContractError, match="same users"):
        summary(pl.concat([judged({"a": [1.0, 0.0]}), other]), seed=0)
