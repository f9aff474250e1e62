import numpy as np
import pytest

from genre_pipeline.recommenders.als import AlsConfig, AlsRecommender
from tests.recommenders import tiny_world
from tests.recommenders.recommender_contract import PersonalContract


class TestAls(PersonalContract):
    @pytest.fixture
    def recommender(self) -> AlsRecommender:
        return AlsRecommender(AlsConfig(factors=2))


def test_another_seed_starts_elsewhere() -> None:
    data, users = tiny_world.training_set(), np.arange(tiny_world.N_USERS)
    one, other = (AlsRecommender(AlsConfig(factors=4)).fit(data, seed=seed).score(users) for seed in (1, 2))
    assert not np.array_equal(one, other)
