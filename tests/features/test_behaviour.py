import numpy as np
from scipy import sparse

from genre_pipeline.features.behaviour import BehaviourConfig, behaviour_vectors
from genre_pipeline.features.similarity import l2_normalise


def _crowds() -> sparse.csr_matrix:
    """Forty users of two crowds, each taking most of the own ten items; item 20 was taken twice, item 21 never."""
    rng = np.random.default_rng(0)
    taken = np.zeros((40, 22), dtype=np.float32)
    for user in range(40):
        own = np.arange(10) + 10 * (user % 2)
        taken[user, rng.choice(own, 7, replace=False)] = 1
    taken[:2, 20] = 1
    return sparse.csr_matrix(taken)


def test_items_of_one_crowd_are_near_and_those_without_a_history_masked() -> None:
    vectors = behaviour_vectors(_crowds(), BehaviourConfig(factors=2))
    assert vectors.dtype == np.float32
    assert vectors.shape == (22, 2)
    assert not vectors[20:].any()
    cosines = l2_normalise(vectors[:20]) @ l2_normalise(vectors[:20]).T
    assert cosines[:10, :10].min() > cosines[:10, 10:].max()
    np.testing.assert_array_equal(vectors, behaviour_vectors(_crowds(), BehaviourConfig(factors=2)))


def test_factors_are_no_more_than_there_can_be_and_none_without_a_history() -> None:
    assert behaviour_vectors(_crowds()[:3], BehaviourConfig(factors=64, least_users=1)).shape == (22, 2)
    assert behaviour_vectors(_crowds(), BehaviourConfig(least_users=41)).shape == (22, 0)
    assert behaviour_vectors(sparse.csr_matrix((0, 5), dtype=np.float32), BehaviourConfig()).shape == (5, 0)
