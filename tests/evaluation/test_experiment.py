import polars as pl
import pytest

from genre_pipeline.evaluation.experiment import (
    compare_variants,
    experiment_json,
    experiment_notes,
    experiment_rows,
)
from genre_pipeline.evaluation.intervals import IntervalConfig

INTERVALS = IntervalConfig(resamples=400)
HALF = {"default": 0.5, "a": 0.5}
SCHEMA = {"user_id": pl.String, "variant": pl.String, "is_clicked": pl.Boolean}


def impressions(clicks: dict[str, int], users: int = 40, seen: int = 10, *, same_users: bool = False) -> pl.DataFrame:
    """Each variant's users see `seen` items and click so many of them; who clicks one more or less alternates."""
    rows = [
        ("" if same_users else variant, user, variant, place < clicked + (1 if user % 2 else -1))
        for variant, clicked in clicks.items()
        for user in range(users)
        for place in range(seen)
    ]
    frame = pl.DataFrame(rows, schema=["arm", "user", "variant", "is_clicked"], orient="row")
    return frame.select((pl.col("arm") + pl.col("user").cast(pl.String)).alias("user_id"), "variant", "is_clicked")


def test_a_known_difference_is_found_with_an_interval_around_it() -> None:
    found = compare_variants(impressions({"default": 3, "a": 5}), HALF, control="default", seed=1, intervals=INTERVALS)
    row = found.differences.row(0, named=True)
    assert (row["variant"], round(row["difference"], 12), round(row["lift"], 12)) == ("a", 0.2, round(2 / 3, 12))
    assert 0 < row["low"] < 0.2 < row["high"]
    assert found.mismatch_p == 1.0
    assert experiment_notes(found) == []


def test_no_difference_is_an_interval_around_nothing() -> None:
    found = compare_variants(impressions({"default": 4, "a": 4}), HALF, control="default", seed=1, intervals=INTERVALS)
    row = found.differences.row(0, named=True)
    assert row["low"] < 0 == row["difference"] < row["high"]


def test_users_who_saw_both_are_compared_with_themselves() -> None:
    paired = impressions({"default": 3, "a": 5}, same_users=True)
    found = compare_variants(paired, HALF, control="default", seed=1, intervals=INTERVALS)
    row = found.differences.row(0, named=True)
    # Each user clicks exactly two more of ten: there is nothing left to chance.
    assert row["low"] == pytest.approx(0.2)
    assert row["high"] == pytest.approx(0.2)
    assert found.users_in_several == 40
    assert "40 users" in experiment_notes(found)[0]


def test_arms_of_the_wrong_size_are_told() -> None:
    shown = pl.concat([impressions({"default": 4}, users=400), impressions({"a": 4}, users=300)])
    found = compare_variants(shown, HALF, control="default", seed=1, intervals=INTERVALS)
    assert found.has_mismatch
    assert "Sample ratio mismatch" in experiment_notes(found)[0]
    right = compare_variants(shown, {"default": 4, "a": 3}, control="default", seed=1, intervals=INTERVALS)
    assert not right.has_mismatch


def test_an_arm_that_nobody_saw_is_a_mismatch_too() -> None:
    found = compare_variants(impressions({"default": 4}), HALF, control="default", seed=1, intervals=INTERVALS)
    assert found.has_mismatch
    assert found.differences.is_empty()
    assert found.shares.rows() == [("a", 0, 0.0, 0.5), ("default", 40, 1.0, 0.5)]


def test_few_users_have_no_interval() -> None:
    shown = impressions({"default": 4, "a": 4}, users=4)
    found = compare_variants(shown, HALF, control="default", seed=1, intervals=INTERVALS)
    assert found.differences.select("low", "high").rows() == [(None, None)]


def test_rows_for_people_and_for_machines() -> None:
    shown = impressions({"zeta": 3, "default": 3, "a": 5})
    found = compare_variants(shown, {**HALF}, control="default", seed=1, intervals=INTERVALS)
    rows = experiment_rows(found)
    assert [row["variant"] for row in rows] == ["default", "a", "zeta"]
    assert rows[0]["vs default"] == ""
    assert rows[1]["vs default"].startswith("+20.00% [+")
    assert rows[2]["share (expected)"] == "33.3% (–)"
    assert len({tuple(row) for row in rows}) == 1
    assert experiment_json(found)["sample_ratio"] == {"p": found.mismatch_p, "is_mismatch": False}


def test_nothing_shown_is_no_experiment() -> None:
    shown = pl.DataFrame(schema={**SCHEMA, "timestamp": pl.Datetime("us", "UTC")})
    found = compare_variants(shown, HALF, control="default", seed=1, intervals=INTERVALS)
    assert experiment_rows(found) == []
    assert found.mismatch_p is None
