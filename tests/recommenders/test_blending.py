import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError

from genre_pipeline.recommenders.blending import (
    BlendWeights,
    Pool,
    calibrate,
    choose_weights,
    pool_candidates,
    shown_to,
)
from genre_pipeline.recommenders.ease import EaseConfig, EaseRecommender
from genre_pipeline.recommenders.popularity import PopularityConfig, PopularityRecommender
from genre_pipeline.recommenders.validation import build_validation, validation_ndcg
from tests.recommenders import tiny_world

NOISE, SIGNAL = 0, 1


@pytest.mark.filterwarnings("error")
def test_calibration_by_hand() -> None:
    inf = np.inf
    scores = np.array([[1, 2, 5, 9], [3, 3, 3, 9], [-inf, 2, 4, 9], [-inf, -inf, -inf, 9], [1, 2, 3, 4]], np.float32)
    shown = np.array([[1, 1, 1, 0]] * 4 + [[0, 0, 0, 0]], bool)
    expected = [[0, 0.5, 1, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    found = calibrate(scores, shown)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(np.float32, (3, 6), elements=st.floats(-1e6, 1e6, width=32) | st.just(-np.inf)),
    hnp.arrays(bool, (3, 6)),
)
def test_calibration_keeps_the_order_of_what_is_shown(scores: np.ndarray, shown: np.ndarray) -> None:
    found = calibrate(scores, shown)
    assert ((found >= 0) & (found <= 1)).all()
    usable = shown & np.isfinite(scores)
    assert not found[~usable].any()
    for row, kept, mask in zip(scores, found, usable, strict=True):
        order = np.argsort(row[mask], kind="stable")
        assert (np.diff(kept[mask][order]) >= 0).all()


def test_shown_to_is_unseen_candidates() -> None:
    data = tiny_world.training_set()
    shown = shown_to(data, np.array([0]))
    assert data.item_ids.filter(shown[0]).to_list() == ["i05", *(f"i{n:02d}" for n in range(6, 12)), "i90", "i91"]


def test_a_pool_judges_one_part_as_validation_does() -> None:
    data = tiny_world.training_set()
    validation = build_validation(data, tiny_world.later(), max_users=100, seed=0)
    ease = EaseRecommender(EaseConfig(regularisation=5.0)).fit(data, seed=0)
    parts = {"popularity": PopularityRecommender(PopularityConfig()).fit(data, seed=0), "ease": ease}
    pool = pool_candidates(parts, data, validation, depth=10)
    assert pool.scores.shape[::2] == (tiny_world.N_USERS, 2)
    assert pool.scores.shape[1] == pool.taken.shape[1] == pool.is_real.shape[1] == 20
    alone = pool.ndcg(np.array([0.0, 1.0])).numpy()
    np.testing.assert_allclose(alone.mean(), validation_ndcg(ease, data, validation).mean(), rtol=1e-5)


def test_the_informative_part_gets_the_weight_and_the_search_is_deterministic() -> None:
    pool = _pool(users=80, informative=SIGNAL)
    lengths = np.full(80, 3)
    options = {"edges": (), "trials": 60, "min_segment_users": 20}
    chosen, again = (choose_weights(pool, ["noise", "signal"], lengths, seed=4, **options) for _ in range(2))  # type: ignore[arg-type]
    assert chosen == again
    assert chosen.weights[0][SIGNAL] > 0.9
    assert sum(chosen.weights[0]) == pytest.approx(1.0, abs=1e-5)


def test_a_segment_departs_only_where_it_is_large_enough_and_gains() -> None:
    many, few = _pool(users=80, informative=SIGNAL), _pool(users=20, informative=NOISE)
    both = Pool(*(torch.cat([one, two]) for one, two in zip(vars(many).values(), vars(few).values(), strict=True)))
    lengths = np.concatenate([np.full(80, 3), np.full(20, 9)])
    options = {"edges": (6,), "trials": 300, "seed": 4}
    shared = choose_weights(both, ["noise", "signal"], lengths, min_segment_users=21, **options)  # type: ignore[arg-type]
    assert shared.weights[0][SIGNAL] > 0.7
    assert shared.weights[1][SIGNAL] > 0.7
    apart = choose_weights(both, ["noise", "signal"], lengths, min_segment_users=20, **options)  # type: ignore[arg-type]
    assert apart.weights[0][SIGNAL] > 0.7
    assert apart.weights[1][NOISE] > apart.weights[1][SIGNAL]


def test_weights_by_history_length() -> None:
    weights = BlendWeights(parts=("a", "b"), edges=(6, 21), weights=((1, 0), (0.5, 0.5), (0, 1)))
    found = weights.of(np.array([0, 5, 6, 20, 21, 400]))
    assert found.tolist() == [[1, 0], [1, 0], [0.5, 0.5], [0.5, 0.5], [0, 1], [0, 1]]
    assert BlendWeights.model_validate(weights.model_dump(mode="json")) == weights


def test_weights_of_another_shape_are_refused() -> None:
    with pytest.raises(ValidationError, match="2 segments by 2 parts"):
        BlendWeights(parts=("a", "b"), edges=(6,), weights=((1, 0),))
    with pytest.raises(ValidationError, match="1 segments by 2 parts"):
        BlendWeights(parts=("a", "b"), weights=((1,),))


def _pool(*, users: int, informative: int, width: int = 30) -> Pool:
    """One of two parts knows the one item that each user takes; the other is noise."""
    rng = np.random.default_rng(7)
    scores = rng.random((users, width, 2)).astype(np.float32)
    taken = np.zeros((users, width), np.float32)
    taken[np.arange(users), rng.integers(0, width, users)] = 1.0
    scores[:, :, informative] = 0.5 * scores[:, :, informative] + 0.4 * taken
    real = torch.ones((users, width), dtype=torch.bool)
    return Pool(torch.from_numpy(scores), torch.from_numpy(taken), real, torch.ones(users))
