import numpy as np
import polars as pl
import pytest

from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.recommenders.popularity import PopularityConfig, PopularityRecommender
from genre_pipeline.recommenders.validation import build_validation, validation_ndcg
from tests.recommenders import tiny_world


def _truth(*pairs: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame(pairs, schema=["user_id", "item_id"], orient="row")


def test_what_known_users_took_by_position() -> None:
    data = tiny_world.training_set()
    truth = _truth(("u05", "i00"), ("nobody", "i01"), ("u02", "i90"), ("u02", "unheard of"))
    found = build_validation(data, truth, max_users=10, seed=0)
    assert found.users.tolist() == [2, 5]
    assert found.counts.tolist() == [2, 1]
    assert sorted(zip(*(part.tolist() for part in found.taken.nonzero()), strict=True)) == [(0, 12), (1, 0)]


def test_ndcg_by_hand() -> None:
    data = tiny_world.training_set()
    found = build_validation(data, _truth(("u02", "i90"), ("u02", "unheard of"), ("u05", "i00")), max_users=10, seed=0)
    where = np.tile(np.arange(4, 14), (2, 1))
    where[1, :3] = [1, 0, 2]
    is_real = np.ones(where.shape, dtype=bool)
    ndcg = found.ndcg(np.array([0, 1]), where, is_real)
    np.testing.assert_allclose(ndcg, [(1 / np.log2(10)) / (1 + 1 / np.log2(3)), 1 / np.log2(3)], rtol=1e-6)
    assert found.ndcg(np.array([0, 1]), where, ~is_real).tolist() == [0.0, 0.0]


def test_a_sample_of_users_is_drawn_by_the_seed() -> None:
    data, truth = tiny_world.training_set(), tiny_world.later()
    one, same, other = (build_validation(data, truth, max_users=5, seed=seed).users.tolist() for seed in (1, 1, 2))
    assert len(one) == 5
    assert one == same != other


def test_nobody_who_comes_back_is_an_error() -> None:
    with pytest.raises(TrainingError, match="No known user comes back"):
        build_validation(tiny_world.training_set(), _truth(("nobody", "i00")), max_users=5, seed=0)


def test_every_unseen_candidate_is_ranked() -> None:
    data = tiny_world.training_set()
    validation = build_validation(data, tiny_world.later(), max_users=100, seed=0)
    part = PopularityRecommender(PopularityConfig()).fit(data, seed=0)
    ndcg = validation_ndcg(part, data, validation)
    assert ndcg.shape == (tiny_world.N_USERS,)
    # The fifth item of u00 and u01 in their own round: i04 is gone and cannot be hit, i10 can.
    assert (ndcg[0], ndcg[1] > 0) == (0.0, True)
