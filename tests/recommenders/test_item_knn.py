import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders import item_knn
from genre_pipeline.recommenders.histories import recency_weighted_histories
from genre_pipeline.recommenders.item_knn import ItemKnnConfig, ItemKnnRecommender
from tests.recommenders import tiny_world
from tests.recommenders.recommender_contract import PersonalContract


@pytest.mark.parametrize("weighting", ["cosine", "tfidf"])
class TestItemKnn(PersonalContract):
    @pytest.fixture
    def recommender(self, weighting: str) -> ItemKnnRecommender:
        return ItemKnnRecommender(ItemKnnConfig(weighting=weighting))  # type: ignore[arg-type]

    def test_the_other_crowds_items_score_nothing(self, fitted: ItemKnnRecommender, data: TrainingSet) -> None:
        scores = fitted.score(np.arange(data.n_users))
        assert not scores[0, tiny_world.CROWD :].any()
        assert not scores[1, : tiny_world.CROWD].any()


def _dense_reference(data: TrainingSet, config: ItemKnnConfig) -> np.ndarray:
    x = data.matrix.toarray().astype(np.float64)
    if config.weighting == "tfidf":
        x *= np.log1p(data.n_items / (x > 0).sum(axis=1, keepdims=True))
    norms = np.linalg.norm(x, axis=0)
    likeness = (x.T @ x) / (np.outer(norms, norms) + config.shrinkage)
    np.fill_diagonal(likeness, 0.0)
    kept = np.zeros_like(likeness)
    for row, column in enumerate(np.argsort(-likeness.astype(np.float32), axis=1, kind="stable")):
        kept[row, column[: config.neighbours]] = likeness[row, column[: config.neighbours]]
    histories = recency_weighted_histories(data, config.half_life_items).toarray()
    return np.asarray(histories @ kept)


@pytest.mark.parametrize("weighting", ["cosine", "tfidf"])
@pytest.mark.parametrize("half_life_items", [None, 2.0])
def test_all_neighbours_agree_with_a_dense_reference(weighting: str, half_life_items: float | None) -> None:
    data = _random_world(0)
    config = ItemKnnConfig(weighting=weighting, half_life_items=half_life_items, shrinkage=3.0)  # type: ignore[arg-type]
    scores = ItemKnnRecommender(config).fit(data, seed=0).score(np.arange(data.n_users))
    np.testing.assert_allclose(scores, _dense_reference(data, config), rtol=1e-5, atol=1e-6)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = _random_world(1)
    whole = ItemKnnRecommender(ItemKnnConfig(neighbours=3)).fit(data, seed=0).similarities
    monkeypatch.setattr(item_knn, "ITEM_BLOCK", 3)
    in_blocks = ItemKnnRecommender(ItemKnnConfig(neighbours=3)).fit(data, seed=0).similarities
    np.testing.assert_array_equal(whole.toarray(), in_blocks.toarray())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_the_kept_neighbours_are_the_first_of_a_stable_sort(seed: int, n: int) -> None:
    dense = np.random.default_rng(seed).integers(0, 4, (5, 7)).astype(np.float32)
    kept = item_knn._keep_best(sparse.csr_matrix(dense), n).toarray()
    expected = np.zeros_like(dense)
    for row, order in enumerate(np.argsort(-dense, axis=1, kind="stable")[:, :n]):
        expected[row, order] = dense[row, order]
    np.testing.assert_array_equal(kept, expected)


def _random_world(seed: int) -> TrainingSet:
    rng = np.random.default_rng(seed)
    minute = tiny_world.timedelta(minutes=1)
    rows = [
        (f"u{rng.integers(15):02d}", f"i{rng.integers(12):02d}", tiny_world.AS_OF - int(rng.integers(1, 9000)) * minute)
        for _ in range(120)
    ]
    return tiny_world.training_set(rows)
