import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.training.promotion import PromotionConfig, PromotionDecision, decide_promotion

CONFIG = PromotionConfig(samples=400)


def _scores(values: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({"user_id": [f"{place:04d}" for place in range(len(values))], "ndcg": values})


BASE = np.random.default_rng(3).uniform(0.1, 0.5, 200)


def test_the_first_model_is_promoted() -> None:
    expected = PromotionDecision(True, None, None, None, "There is no champion yet.")
    assert decide_promotion(_scores(BASE), None, CONFIG, seed=0) == expected


def test_the_same_model_again_is_not() -> None:
    decision = decide_promotion(
        _scores(BASE), _scores(BASE), CONFIG, seed=0, challenger_sha256="aa", champion_sha256="aa"
    )
    assert (decision.promote, decision.difference) == (False, 0.0)


@pytest.mark.parametrize(("change", "promoted"), [(0.05, True), (0.0, True), (-0.001, True), (-0.05, False)])
def test_a_challenger_may_not_be_clearly_worse(change: float, promoted: bool) -> None:
    decision = decide_promotion(_scores(BASE + change), _scores(BASE), CONFIG, seed=0)
    assert decision.promote is promoted
    assert decision.difference == pytest.approx(change)


def test_rows_may_come_in_any_order() -> None:
    shuffled = _scores(BASE + 0.01).sample(fraction=1, shuffle=True, seed=5)
    assert decide_promotion(shuffled, _scores(BASE), CONFIG, seed=0).low == pytest.approx(0.01)


def test_a_handful_of_users_decides_nothing() -> None:
    decision = decide_promotion(_scores(BASE[:9] + 0.1), _scores(BASE[:9]), CONFIG, seed=0)
    assert not decision.promote
    assert "fewer than 10" in decision.reason


def test_other_users_and_broken_scores_are_refused() -> None:
    with pytest.raises(TrainingError, match="same users") as caught:
        decide_promotion(_scores(BASE), _scores(BASE[:199]), CONFIG, seed=0)
    assert caught.value.culprits == ("0199",)
    with pytest.raises(TrainingError, match="finite"):
        decide_promotion(_scores(np.append(BASE, np.nan)), _scores(np.append(BASE, 0.1)), CONFIG, seed=0)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=10, max_size=40), st.integers(0, 99))
def test_the_interval_holds_the_difference_and_swapping_mirrors_it(pairs: list[tuple[float, float]], seed: int) -> None:
    left, right = (_scores(np.array(side)) for side in zip(*pairs, strict=True))
    there, back = decide_promotion(left, right, CONFIG, seed=seed), decide_promotion(right, left, CONFIG, seed=seed)
    assert there.low is not None
    assert there.high is not None
    assert there.low - 1e-9 <= there.difference <= there.high + 1e-9  # type: ignore[operator]
    assert there.low == pytest.approx(-back.high, abs=1e-9)  # type: ignore[operator]


def _with_segment(scores: pl.DataFrame, name: str, values: np.ndarray) -> pl.DataFrame:
    everybody = scores.with_columns(segment=pl.lit("all"))
    return pl.concat([everybody, _scores(values).with_columns(segment=pl.lit(name))], how="diagonal")


@pytest.mark.parametrize(
    ("segment", "change", "promoted"),
    [("tail", -0.2, False), ("tail", -0.02, True), ("tail", 0.1, True), ("unguarded", -0.2, True)],
)
def test_a_better_challenger_may_not_be_clearly_worse_in_a_guarded_segment(
    segment: str, change: float, promoted: bool
) -> None:
    champion = _with_segment(_scores(BASE), segment, BASE[:50])
    challenger = _with_segment(_scores(BASE + 0.05), segment, BASE[:50] + change)
    decision = decide_promotion(challenger, champion, CONFIG, seed=0)
    assert decision.promote is promoted
    assert ("clearly worse in a guarded segment: tail" in decision.reason) is not promoted
    if segment == "tail":
        (difference,) = decision.segments
        assert (difference.users, difference.difference) == (50, pytest.approx(change))
        assert difference.floor == pytest.approx(-0.1 * BASE[:50].mean())


def test_a_noisy_or_small_segment_guards_nothing() -> None:
    noise = np.random.default_rng(5).normal(0, 0.5, 20)
    champion = _with_segment(_scores(BASE), "cold", BASE[:20])
    noisy = decide_promotion(
        _with_segment(_scores(BASE), "cold", BASE[:20] + noise - noise.mean() - 0.06), champion, CONFIG, seed=0
    )
    assert noisy.promote
    assert noisy.segments[0].difference < noisy.segments[0].floor
    small = _with_segment(_scores(BASE), "cold", BASE[:9]), _with_segment(_scores(BASE), "cold", BASE[:9] - 0.09)
    assert decide_promotion(small[1], small[0], CONFIG, seed=0).segments == ()


def test_a_segment_of_other_users_is_refused() -> None:
    champion = _with_segment(_scores(BASE), "head", BASE[:50])
    with pytest.raises(TrainingError, match="same users"):
        decide_promotion(_with_segment(_scores(BASE), "head", BASE[:49]), champion, CONFIG, seed=0)
