"""The table of an ablation: the reference first, differences from the variant's side, cold items by chance."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from genre_pipeline.evaluation.ablation import (
    ablation_markdown,
    ablation_metrics,
    ablation_rows,
    choice_line,
    chosen_variant,
    differences,
)
from genre_pipeline.evaluation.evaluate import EvaluationConfig, EvaluationInputs, evaluate
from genre_pipeline.evaluation.intervals import IntervalConfig
from genre_pipeline.evaluation.metrics import chance_metrics
from genre_pipeline.evaluation.result import VALIDATION_SCHEMA, EvaluationResult, RunFacts

USERS = [f"u{number:02d}" for number in range(20)]
QUICK = EvaluationConfig(k=2, comparison_resamples=200, intervals=IntervalConfig(resamples=200))


def _lists(variant: str, items: list[str]) -> pl.DataFrame:
    rows = [(variant, user, item, rank, 1.0 / rank) for user in USERS for rank, item in enumerate(items, start=1)]
    schema = ["recommender", "user_id", "item_id", "rank", "score"]
    return pl.DataFrame(rows, schema=schema, orient="row").cast({"rank": pl.UInt32, "score": pl.Float32})


def _result(*, with_cold: bool) -> EvaluationResult:
    """Everybody took `a` and the cold `new`: "all" lists both, "without text" neither, "text + more" only `a`."""
    truth = pl.DataFrame({"user_id": USERS * 2, "item_id": ["a"] * 20 + ["new"] * 20})
    items = pl.DataFrame(
        {"item_id": ["a", "b", "c", "new"], "popularity": [5, 3, 2, 0], "is_cold": [False, False, False, True],
         "title": ["a", "b", "c", "new"], "categories": [[], [], [], []]},
        schema_overrides={"categories": pl.List(pl.String)},
    )  # fmt: skip
    lists = [_lists("all", ["a", "b"]), _lists("without text", ["b", "c"]), _lists("text + more", ["a", "c"])]
    cold = [_lists("all", ["new", "a"]), _lists("without text", ["b", "c"]), _lists("text + more", ["a", "c"])]
    inputs = EvaluationInputs(
        recommendations=pl.concat(lists),
        truth=truth,
        users=pl.DataFrame({"user_id": USERS, "history_length": [3] * 20}),
        items=items,
        catalogue=pl.Series(["a", "b", "c"]),
        cold_recommendations=pl.concat(cold) if with_cold else None,
        cold_candidates=pl.DataFrame({"user_id": USERS, "candidates": [200] * 20}) if with_cold else None,
    )
    return evaluate(inputs, protocol="time", seed=0, champion="all", config=QUICK)


def test_the_reference_is_first_and_others_are_told_by_their_difference_to_it() -> None:
    rows = ablation_rows(_result(with_cold=False))
    assert [row["variant"] for row in rows] == ["all", "text + more", "without text"]
    assert list(rows[0]) == ["variant", "nDCG@2", "vs all", "recall@2"]
    assert [row["recall@2"][:6] for row in rows] == ["0.5000", "0.5000", "0.0000"]
    assert rows[0]["vs all"] == ""
    assert rows[1]["vs all"].startswith("+0.000 [")
    assert rows[2]["vs all"] == "−0.613 [−0.613, −0.613]"


def test_differences_are_told_from_the_variants_side() -> None:
    rows = {row["recommender"]: row for row in differences(_result(with_cold=False)).to_dicts()}
    assert set(rows) == {"text + more", "without text"}
    worse = rows["without text"]
    assert worse["low"] <= worse["difference"] <= worse["high"] < 0


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        ([("text + more", 0.01, 0.001, 0.02), ("without text", 0.03, 0.002, 0.05)], "without text"),
        ([("text + more", 0.01, 0.001, 0.02), ("without text", 0.03, -0.01, 0.07)], "text + more"),
        ([("text + more", 0.0, 0.0, 0.0), ("without text", 0.03, -0.01, 0.07)], "all"),
        ([("text + more", 0.04, None, None), ("without text", -0.03, -0.04, -0.02)], "all"),
    ],
)
def test_validation_chooses_the_best_whose_interval_lies_above_0(found: list[tuple[object]], chosen: str) -> None:
    assert choice_line(_result(with_cold=False)) == ""
    assert "on validation" not in ablation_rows(_result(with_cold=False))[0]
    validation = pl.DataFrame(found, schema=VALIDATION_SCHEMA, orient="row")
    result = replace(_result(with_cold=False), run=RunFacts(validation=validation))
    assert chosen_variant(result) == chosen
    assert f"chose {chosen!r}" in choice_line(result)
    told = {row["variant"]: row["on validation"] for row in ablation_rows(result)}
    assert [name for name, cell in told.items() if cell.endswith("chosen")] == [chosen]


def test_what_texts_took_is_told_beside_the_variants_that_have_them() -> None:
    assert "tokens" not in ablation_rows(_result(with_cold=False))[0]
    written = pl.DataFrame({"recommender": ["without text"], "tokens": [12345], "cost": [0.25], "seconds": [3.21]})
    rows = ablation_rows(replace(_result(with_cold=False), run=RunFacts(written=written)))
    told = {row["variant"]: (row["tokens"], row["cost"], row["seconds"]) for row in rows}
    assert told == {
        "all": ("0", "0", "0.0"), "text + more": ("0", "0", "0.0"), "without text": ("12,345", "0.25", "3.2")
    }  # fmt: skip


def test_cold_items_are_told_beside_chance() -> None:
    result = _result(with_cold=True)
    rows = ablation_rows(result)
    assert list(rows[0])[4:] == ["cold recall@50", "× chance", "cold vs all"]
    # 50 of 200 drawn at random hold the one cold item a quarter of the time.
    assert [row["× chance"] for row in rows] == ["4.0", "0.0", "0.0"]
    assert rows[2]["cold vs all"].startswith("−1.000 [")
    assert "random" not in {row["variant"] for row in rows}


def test_markdown_and_numbers_for_a_tracker() -> None:
    result = _result(with_cold=True)
    lines = ablation_markdown(result).splitlines()
    assert lines[0].startswith("| variant | nDCG@2 | vs all | recall@2 | cold recall@50 |")
    assert len(lines) == 5
    numbers = ablation_metrics(result)
    assert numbers["all/recall"] == 0.5
    assert numbers["all/cold_recall"] == 1.0
    assert numbers["random/cold_recall"] == pytest.approx(0.25)
    assert numbers["text - more/cold_recall"] == 0.0


def test_chance_in_closed_form_is_what_random_lists_have() -> None:
    truth = pl.DataFrame({"user_id": ["u", "u", "v"], "item_id": ["i1", "i2", "i3"]})
    candidates = pl.DataFrame({"user_id": ["u", "v"], "candidates": [8, 2]})
    found = chance_metrics(candidates, truth, 4).sort("user_id")
    draws = 20_000
    generator = np.random.default_rng(0)
    ranks = generator.permuted(np.tile(np.arange(8), (draws, 1)), axis=1)[:, :2] + 1  # of two relevant items of eight
    gains = np.where(ranks <= 4, 1 / np.log2(ranks + 1), 0).sum(axis=1) / (1 + 1 / np.log2(3))
    assert found["recall"].to_list() == [0.5, 1.0]
    assert found["ndcg"][0] == pytest.approx(gains.mean(), abs=0.01)
    assert found["ndcg"][1] == pytest.approx((1 + 1 / np.log2(3)) / 2)
    assert found["mrr"].null_count() == 2
