import numpy as np
import pytest

from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders import rp3beta
from genre_pipeline.recommenders.histories import age_weighted_matrix, recency_weighted_histories
from genre_pipeline.recommenders.rp3beta import Rp3BetaConfig, Rp3BetaRecommender
from tests.recommenders import tiny_world
from tests.recommenders.recommender_contract import PersonalContract


class TestRp3Beta(PersonalContract):
    @pytest.fixture
    def recommender(self) -> Rp3BetaRecommender:
        return Rp3BetaRecommender(Rp3BetaConfig())

    def test_no_walk_leads_to_the_other_crowd(self, fitted: Rp3BetaRecommender, data: TrainingSet) -> None:
        scores = fitted.score(np.arange(data.n_users))
        assert not scores[0, tiny_world.CROWD :].any()
        assert not scores[1, : tiny_world.CROWD].any()


def _walk(data: TrainingSet, config: Rp3BetaConfig) -> np.ndarray:
    taken = age_weighted_matrix(data, config.half_life_days).toarray().astype(np.float64)
    from_user = taken / taken.sum(axis=1, keepdims=True)
    from_item = taken.T / np.maximum(taken.T.sum(axis=1, keepdims=True), 1e-12)
    links = from_item**config.alpha @ from_user**config.alpha
    np.fill_diagonal(links, 0.0)
    popularity = taken.sum(axis=0)
    links *= np.where(popularity > 0, np.maximum(popularity, 1e-12) ** -config.beta, 0.0)
    histories = recency_weighted_histories(data, config.half_life_items).toarray()
    return np.asarray((histories / histories.sum(axis=1, keepdims=True)) ** config.alpha @ links)


@pytest.mark.parametrize("half_life_days", [None, 2.0])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (0.7, 0.5)])
def test_all_ends_agree_with_a_dense_walk(alpha: float, beta: float, half_life_days: float | None) -> None:
    data = tiny_world.random_world(0)
    config = Rp3BetaConfig(alpha=alpha, beta=beta, half_life_days=half_life_days, half_life_items=2.0)
    scores = Rp3BetaRecommender(config).fit(data, seed=0).score(np.arange(data.n_users))
    np.testing.assert_allclose(scores, _walk(data, config), rtol=1e-4, atol=1e-6)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiny_world.random_world(1)
    whole = Rp3BetaRecommender(Rp3BetaConfig(neighbours=3)).fit(data, seed=0).links
    monkeypatch.setattr(rp3beta, "ITEM_BLOCK", 3)
    in_blocks = Rp3BetaRecommender(Rp3BetaConfig(neighbours=3)).fit(data, seed=0).links
    np.testing.assert_array_equal(whole.toarray(), in_blocks.toarray())
