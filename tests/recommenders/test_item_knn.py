import numpy as np
import pytest

from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders import item_knn
from genre_pipeline.recommenders.histories import age_weighted_matrix, recency_weighted_histories
from genre_pipeline.recommenders.item_knn import ItemKnnConfig, ItemKnnRecommender
from tests.recommenders import tiny_world
from tests.recommenders.recommender_contract import PersonalContract


@pytest.mark.parametrize("weighting", ["cosine", "tfidf", "bm25"])
class TestItemKnn(PersonalContract):
    @pytest.fixture
    def recommender(self, weighting: str) -> ItemKnnRecommender:
        return ItemKnnRecommender(ItemKnnConfig(weighting=weighting))  # type: ignore[arg-type]

    def test_the_other_crowds_items_score_nothing(self, fitted: ItemKnnRecommender, data: TrainingSet) -> None:
        scores = fitted.score(np.arange(data.n_users))
        assert not scores[0, tiny_world.CROWD :].any()
        assert not scores[1, : tiny_world.CROWD].any()


def _dense_reference(data: TrainingSet, config: ItemKnnConfig) -> np.ndarray:
    taken = age_weighted_matrix(data, config.half_life_days).toarray().astype(np.float64)
    x = taken
    if config.weighting == "bm25":
        length = taken.sum(axis=0)
        x = taken * 2.2 / (taken + 1.2 * (0.25 + 0.75 * length / length.mean()))
    if config.weighting != "cosine":
        x = x * np.log1p(data.n_items / (taken > 0).sum(axis=1, keepdims=True))
    norms = np.linalg.norm(x, axis=0)
    likeness = (x.T @ x) / (np.outer(norms, norms) + config.shrinkage)
    np.fill_diagonal(likeness, 0.0)
    kept = np.zeros_like(likeness)
    for row, column in enumerate(np.argsort(-likeness.astype(np.float32), axis=1, kind="stable")):
        kept[row, column[: config.neighbours]] = likeness[row, column[: config.neighbours]]
    histories = recency_weighted_histories(data, config.half_life_items).toarray()
    return np.asarray(histories @ kept)


@pytest.mark.parametrize("weighting", ["cosine", "tfidf", "bm25"])
@pytest.mark.parametrize("half_life", [None, 2.0])
def test_all_neighbours_agree_with_a_dense_reference(weighting: str, half_life: float | None) -> None:
    data = tiny_world.random_world(0)
    config = ItemKnnConfig(
        weighting=weighting,  # type: ignore[arg-type]
        half_life_items=half_life,
        half_life_days=half_life,
        shrinkage=3.0,
    )
    scores = ItemKnnRecommender(config).fit(data, seed=0).score(np.arange(data.n_users))
    np.testing.assert_allclose(scores, _dense_reference(data, config), rtol=1e-5, atol=1e-6)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiny_world.random_world(1)
    whole = ItemKnnRecommender(ItemKnnConfig(neighbours=3)).fit(data, seed=0).similarities
    monkeypatch.setattr(item_knn, "ITEM_BLOCK", 3)
    in_blocks = ItemKnnRecommender(ItemKnnConfig(neighbours=3)).fit(data, seed=0).similarities
    np.testing.assert_array_equal(whole.toarray(), in_blocks.toarray())
