import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from genre_pipeline.contracts.tables import SimilarItems
from genre_pipeline.features.nearest import NearestConfig, NearestSearch, similar_items, similar_items_table
from genre_pipeline.features.similarity import l2_normalise


def naive(vectors: np.ndarray, is_candidate: np.ndarray, k: int) -> np.ndarray:
    scores = vectors @ vectors.T
    lists = np.full((len(vectors), k), -1)
    for row in range(len(vectors)):
        others = [
            other
            for other in range(len(vectors))
            if other != row and is_candidate[other] and vectors[other].any() and vectors[row].any()
        ]
        best = sorted(others, key=lambda other: (-scores[row, other], other))[:k]
        lists[row, : len(best)] = best
    return lists


def test_nearest_first_without_oneself() -> None:
    vectors = np.array([[1, 0], [0.6, 0.8], [0, 1], [0, 0]], dtype=np.float32)
    indices, scores = similar_items(vectors, np.ones(4, dtype=bool), 3)
    np.testing.assert_array_equal(indices, [[1, 2, -1], [2, 0, -1], [1, 0, -1], [-1, -1, -1]])
    np.testing.assert_allclose(scores, [[0.6, 0, 0], [0.8, 0.6, 0], [0.8, 0, 0], [0, 0, 0]], rtol=1e-6)
    assert (indices.dtype, scores.dtype) == (np.int64, np.float32)


def test_only_candidates_are_neighbours_but_every_item_is_asked_for() -> None:
    vectors = np.array([[1, 0], [1, 0], [0.6, 0.8]], dtype=np.float32)
    indices, _ = similar_items(vectors, np.array([False, True, True]), 1)
    np.testing.assert_array_equal(indices, [[1], [2], [1]])


def test_nobody_is_a_candidate_or_has_a_vector() -> None:
    eye = np.eye(3, dtype=np.float32)
    assert (similar_items(eye, np.zeros(3, dtype=bool), 2)[0] == -1).all()
    assert (similar_items(np.zeros((3, 2), dtype=np.float32), np.ones(3, dtype=bool), 2)[0] == -1).all()
    assert similar_items(np.zeros((0, 2), dtype=np.float32), np.ones(0, dtype=bool), 2)[0].shape == (0, 2)


@given(
    st.lists(st.tuples(*[st.sampled_from([0.0, 0.5, -0.5])] * 4), min_size=1, max_size=40),
    st.integers(1, 8),
    st.integers(1, 7),
    st.data(),
)
@settings(max_examples=80, deadline=None)
def test_lists_agree_with_a_naive_sort_ties_included(
    rows: list[tuple[float, ...]], k: int, block: int, data: st.DataObject
) -> None:
    # Halves add up exactly, so that equal means equal: with few values the lists are full of ties.
    vectors = np.array(rows, dtype=np.float32)
    is_candidate = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
    indices, scores = similar_items(vectors, is_candidate, k, block)
    np.testing.assert_array_equal(indices, naive(vectors, is_candidate, k))
    assert (np.diff(scores, axis=1)[indices[:, 1:] >= 0] <= 0).all()


def test_blocks_and_a_small_budget_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = l2_normalise(np.random.default_rng(0).normal(size=(300, 16)))
    everybody = np.ones(300, dtype=bool)
    whole, _ = similar_items(vectors, everybody, 10)
    np.testing.assert_array_equal(similar_items(vectors, everybody, 10, block=7)[0], whole)
    monkeypatch.setattr("genre_pipeline.features.nearest._SCORES_AT_ONCE", 900)
    np.testing.assert_array_equal(similar_items(vectors, everybody, 10)[0], whole)


def test_the_table_has_ranks_from_one_and_no_padding() -> None:
    vectors = np.array([[1, 0], [0.6, 0.8], [0, 0]], dtype=np.float32)
    table = similar_items_table(pl.Series(["a", "b", "c"]), *similar_items(vectors, np.ones(3, dtype=bool), 2))
    expected = pl.DataFrame(
        {"item_id": ["a", "b"], "similar_item_id": ["b", "a"], "rank": [1, 1], "score": [0.6, 0.6]},
        schema_overrides={"rank": pl.UInt32, "score": pl.Float32},
    )
    assert_frame_equal(table, expected)
    SimilarItems.validate(table)


@pytest.mark.parametrize(("width", "noise", "least"), [(32, 0.5, 0.97), (32, 3.0, 0.9), (33, 1.0, 0.9)])
def test_the_index_finds_what_exact_search_finds(width: int, noise: float, least: float) -> None:
    """Recall@20 on strongly and weakly clustered vectors; what is found has its exact score."""
    vectors = _clustered(4000, width, noise)
    is_candidate = np.random.default_rng(1).random(len(vectors)) < 0.9
    exact, _ = similar_items(vectors, is_candidate, 20)
    found, scores = similar_items(vectors, is_candidate, 20, config=NearestConfig(exact_below=1000))
    recall = np.mean([len(set(one) & set(other)) / 20 for one, other in zip(exact, found, strict=True)])
    assert recall >= least
    assert is_candidate[found].all()
    assert (found != np.arange(len(vectors))[:, None]).all()
    np.testing.assert_allclose(scores, np.einsum("nd,nkd->nk", vectors, vectors[found]), atol=1e-5)
    assert (np.diff(scores, axis=1) <= 0).all()


def test_the_threshold_decides_and_the_index_gives_the_same_bits() -> None:
    vectors = _clustered(2000, 16, 2.0)
    vectors[7] = 0
    everybody = np.ones(2000, dtype=bool)
    exact = similar_items(vectors, everybody, 10)[0]
    np.testing.assert_array_equal(
        similar_items(vectors, everybody, 10, config=NearestConfig(exact_below=2001))[0], exact
    )
    coarse = NearestConfig(exact_below=1000, refine=1)
    one, other = (similar_items(vectors, everybody, 10, config=coarse)[0] for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert (one != exact).any()
    assert (one[7] == -1).all()
    assert 7 not in one


def _clustered(count: int, width: int, noise: float) -> np.ndarray:
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(100, width))[generator.integers(0, 100, count)]
    return l2_normalise(centres + noise * generator.normal(size=(count, width)))


def test_search_of_any_vectors_finds_what_comparing_all_finds() -> None:
    generator = np.random.default_rng(3)
    vectors = l2_normalise(generator.normal(size=(300, 12)).astype(np.float32))
    vectors[5] = 0
    queries = l2_normalise(generator.normal(size=(3, 12)).astype(np.float32))
    allowed = generator.random(300) < 0.7
    found = NearestSearch(vectors, np.ones(300, dtype=bool)).nearest(queries, allowed, 20)
    cosine = np.where(allowed, (vectors @ queries.T).max(axis=1), -1)
    assert set(found) == set(np.argsort(-cosine, kind="stable")[:20])
    assert len(NearestSearch(vectors, np.ones(300, dtype=bool)).nearest(queries, allowed, 0)) == 0
    assert len(NearestSearch(vectors[:, :0], np.ones(300, dtype=bool)).nearest(queries[:, :0], allowed, 5)) == 0


def test_search_through_an_index_keeps_its_recall_and_what_is_allowed() -> None:
    generator = np.random.default_rng(4)
    centres = generator.normal(size=(40, 32))
    vectors = centres[generator.integers(0, 40, 3000)] + 0.4 * generator.normal(size=(3000, 32))
    vectors = l2_normalise(vectors.astype(np.float32))
    allowed = np.ones(3000, dtype=bool)
    allowed[::3] = False
    search = NearestSearch(vectors, np.ones(3000, dtype=bool), NearestConfig(exact_below=1000, refine=4))
    exact = NearestSearch(vectors, np.ones(3000, dtype=bool), NearestConfig(exact_below=10_000))
    shares = []
    for query in vectors[:20]:
        found = search.nearest(query[None], allowed, 30)
        assert allowed[found].all()
        wanted = exact.nearest(query[None], np.ones(3000, dtype=bool), 30)
        shares.append(len(set(found) & set(wanted)) / max(int(allowed[wanted].sum()), 1))
    assert np.mean(shares) > 0.9
