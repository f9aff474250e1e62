import numpy as np
import pytest

from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.contracts.training_set import TrainingSet, build_training_set
from genre_pipeline.recommenders.ease import EaseConfig, EaseRecommender
from genre_pipeline.recommenders.histories import recency_weighted_histories
from tests.recommenders import tiny_world
from tests.recommenders.recommender_contract import PersonalContract


class TestEase(PersonalContract):
    @pytest.fixture
    def recommender(self) -> EaseRecommender:
        return EaseRecommender(EaseConfig(regularisation=5.0))

    def test_items_that_nobody_took_score_zero(self, fitted: EaseRecommender, data: TrainingSet) -> None:
        assert not fitted.score(np.arange(data.n_users))[:, tiny_world.N_ITEMS :].any()


@pytest.mark.parametrize("half_life_items", [None, 2.0])
def test_the_closed_form_agrees_with_a_direct_inverse(half_life_items: float | None) -> None:
    data = tiny_world.training_set()
    config = EaseConfig(regularisation=7.0, half_life_items=half_life_items)
    scores = EaseRecommender(config).fit(data, seed=0).score(np.arange(data.n_users))
    x = data.matrix.toarray().astype(np.float64)[:, : tiny_world.N_ITEMS]
    inverse = np.linalg.inv(x.T @ x + 7.0 * np.eye(tiny_world.N_ITEMS))
    weights = np.eye(tiny_world.N_ITEMS) - inverse / np.diag(inverse)
    histories = recency_weighted_histories(data, half_life_items).toarray()[:, : tiny_world.N_ITEMS]
    np.testing.assert_allclose(scores[:, : tiny_world.N_ITEMS], histories @ weights, rtol=1e-4, atol=1e-5)


def test_only_the_most_taken_items_take_part() -> None:
    rows = [*tiny_world.rows(), ("u00", "i09", tiny_world.AS_OF - tiny_world.timedelta(minutes=1))]
    data = tiny_world.training_set(rows)
    fitted = EaseRecommender(EaseConfig(max_items=2)).fit(data, seed=0)
    assert data.item_ids.gather(fitted.columns).to_list() == ["i00", "i09"]
    scored = np.flatnonzero(fitted.score(np.arange(data.n_users)).any(axis=0))
    assert set(scored) <= set(fitted.columns)


def test_a_matrix_that_float32_cannot_invert_is_named() -> None:
    data = build_training_set(
        tiny_world.interactions(tiny_world.rows()), tiny_world.items(), as_of=tiny_world.AS_OF,
        event_weights={"view": 1e18},
    )  # fmt: skip
    with pytest.raises(TrainingError, match=r"regularisation 1e-06.*Raise `recommenders.ease.regularisation`"):
        EaseRecommender(EaseConfig(regularisation=1e-6)).fit(data, seed=0)
