import numpy as np
import pytest

from genre_pipeline.recommenders.bpr import BprConfig, BprRecommender
from tests.recommenders import tiny_world
from tests.recommenders.recommender_contract import PersonalContract


class TestBpr(PersonalContract):
    @pytest.fixture
    def recommender(self) -> BprRecommender:
        return BprRecommender(BprConfig(factors=4))


def test_another_seed_starts_elsewhere() -> None:
    data, users = tiny_world.training_set(), np.arange(tiny_world.N_USERS)
    one, other = (BprRecommender(BprConfig(factors=4)).fit(data, seed=seed).score(users) for seed in (1, 2))
    assert not np.array_equal(one, other)
