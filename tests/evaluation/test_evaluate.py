import dataclasses
import json

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from genre_pipeline.contracts.errors import ConfigError, ContractError
from genre_pipeline.evaluation.evaluate import EvaluationConfig, EvaluationInputs, evaluate
from genre_pipeline.evaluation.intervals import IntervalConfig
from genre_pipeline.evaluation.result import EvaluationResult


def value(result: EvaluationResult, recommender: str, metric: str) -> float:
    rows = result.metrics.filter(pl.col("recommender") == recommender, pl.col("metric") == metric)
    return rows["value"].item()


def test_values_known_by_construction(result):
    assert value(result, "hybrid", "hit") == pytest.approx(20 / 30)
    assert value(result, "popular", "hit") == pytest.approx(16 / 30)
    assert value(result, "dull", "hit") == 0
    assert value(result, "dull", "coverage") == pytest.approx(1 / 11)
    assert value(result, "popular", "average_popularity") == pytest.approx(79 / 3)
    assert result.recommenders() == ["hybrid", "popular", "dull"]


def test_the_protocol_counts_what_was_judged(result):
    protocol = result.protocol
    assert (protocol.users, protocol.items, protocol.test_interactions) == (30, 11, 31)
    assert (protocol.train_interactions, protocol.k, protocol.seed) == (142, 3, 7)


def test_every_metric_is_there_once_for_each_recommender(result):
    counts = result.metrics.group_by("metric").agg(pl.len(), pl.col("recommender").n_unique().alias("names"))
    assert set(counts["metric"]) == {
        *("recall", "ndcg", "mrr", "hit", "map", "novelty", "average_popularity", "diversity", "miscalibration"),
        *("diversity_text", "coverage", "gini"),
    }
    assert counts.select("len", "names").unique().rows() == [(3, 3)]


def test_intervals_hold_their_values(result):
    known = result.metrics.drop_nulls("low")
    assert known.height > 20
    assert (known["value"] - known["low"]).min() > -1e-12
    assert (known["high"] - known["value"]).min() > -1e-12


def test_order_of_input_rows_does_not_matter(inputs, result):
    shuffled = dataclasses.replace(
        inputs,
        recommendations=inputs.recommendations.sample(fraction=1.0, shuffle=True, seed=1),
        truth=inputs.truth.reverse(),
        users=inputs.users.reverse(),
    )
    config = EvaluationConfig(k=3, intervals=IntervalConfig(resamples=200), comparison_resamples=300)
    again = evaluate(shuffled, protocol="time", seed=7, config=config)
    assert_frame_equal(again.metrics, result.metrics, check_exact=True)
    assert_frame_equal(again.comparisons, result.comparisons, check_exact=True)
    assert_frame_equal(again.segments.metrics, result.segments.metrics, check_exact=True)
    assert again.examples == result.examples


def test_json_layout(result):
    found = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert list(found) == [
        *("layout", "protocol", "data", "cut", "k", "seed", "users", "items", "train_interactions"),
        *("test_interactions", "resamples", "confidence", "notes", "champion", "recommenders", "comparisons"),
        *("segments", "against_best", "cold_comparisons", "settings", "blend_weights", "cost", "written"),
        *("validation", "quality"),
    ]
    assert found["recommenders"]["hybrid"]["hit"]["value"] == pytest.approx(20 / 30)
    assert set(found["recommenders"]["hybrid"]["ndcg"]) == {"value", "low", "high", "users"}
    assert found["recommenders"]["dull"]["diversity"] == {"value": None, "low": None, "high": None, "users": 0}
    assert {(row["metric"], row["versus"]) for row in found["comparisons"]} == {
        (metric, name) for metric in ("ndcg", "recall", "mrr") for name in ("dull", "popular")
    }
    segments = {(row["kind"], row["segment"]): row for row in found["segments"]}
    assert segments[("history", "heavy")]["users"] == 13
    assert segments[("cold_items", "cold")]["recommenders"]["hybrid"]["recall"]["value"] == 0
    assert found["cost"] == {"hybrid": {"fit_seconds": 1.5, "score_seconds": 0.25, "peak_memory_mb": None}}
    assert found["blend_weights"] == {"light": {"popular": 1.0}}


def test_optional_frames_may_be_missing(inputs):
    bare = EvaluationInputs(
        inputs.recommendations,
        inputs.truth,
        inputs.users,
        inputs.items.with_columns(pl.lit([], dtype=pl.List(pl.String)).alias("categories")),
        inputs.catalogue,
    )
    found = evaluate(bare, protocol="leave-one-out", seed=0)
    assert "diversity" not in found.metrics["metric"]
    assert "cold_items" not in found.segments.metrics["kind"]
    assert found.examples[0].history == ()


def test_examples_are_spread_over_history_lengths_and_mark_hits(result):
    assert [user.user_id for user in result.examples] == ["u05", "u15", "u25"]
    middle = result.examples[1]
    assert list(middle.lists) == ["hybrid", "popular", "dull"]
    assert [item.item_id for item in middle.history] == ["i05", "i04"]
    assert [(item.item_id, item.is_hit) for item in result.examples[0].lists["hybrid"]] == [
        ("i01", True),
        ("i05", False),
        ("i06", False),
    ]


def test_an_item_that_is_not_in_the_catalogue_is_refused(inputs):
    with pytest.raises(ContractError, match="catalogue") as caught:
        evaluate(dataclasses.replace(inputs, catalogue=inputs.catalogue.slice(1)), protocol="time", seed=0)
    assert caught.value.culprits == ("i00",)


def test_an_unknown_champion_is_refused(inputs):
    with pytest.raises(ConfigError, match="crown"):
        evaluate(inputs, protocol="time", seed=0, champion="crown")
