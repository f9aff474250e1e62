import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genre_pipeline.contracts.errors import ContractError, TrainingError
from genre_pipeline.features.fusion import Fusion, FusionConfig, fit_fusion
from genre_pipeline.features.modality_gates import co_consumed_pairs, fit_gates
from genre_pipeline.features.shared_space import fit_shared_space
from genre_pipeline.features.similarity import l2_normalise
from genre_pipeline.features.whitening import fit_whitening

WIDTHS = {"audio": 6, "image": 9, "text": 7}
METHODS = ["concatenate", "mean", "gated"]


def catalogue(n: int = 60, seed: int = 0, noise: float = 0.5) -> dict[str, np.ndarray]:
    """Items of four kinds; each modality shows the kind, with noise; a third of each modality is missing."""
    generator = np.random.default_rng(seed)
    kinds = np.arange(n) % 4
    vectors = {}
    for name, width in WIDTHS.items():
        centres = np.random.default_rng(len(name)).standard_normal((4, width))
        rows = (centres[kinds] + noise * generator.standard_normal((n, width))).astype(np.float32)
        rows[generator.random(n) < 1 / 3] = 0
        vectors[name] = rows
    return vectors


def alike(n: int = 60) -> np.ndarray:
    """Pairs of items of one kind."""
    return np.stack([np.arange(n - 4), np.arange(4, n)], axis=1)


def fitted(method: str, vectors: dict[str, np.ndarray], **settings: object) -> Fusion:
    config = FusionConfig(method=method, pair_prior=10, **settings)  # type: ignore[arg-type]
    return fit_fusion(vectors, config, pairs=alike(len(vectors["text"])))


@pytest.mark.parametrize("method", METHODS)
@given(present=st.sets(st.sampled_from(sorted(WIDTHS))), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_any_subset_of_modalities_is_one_vector_of_length_1(method: str, present: set[str], seed: int) -> None:
    fusion = fitted(method, catalogue())
    generator = np.random.default_rng(seed)
    cold = {name: generator.standard_normal((3, width)).astype(np.float32) for name, width in WIDTHS.items()}
    masked = {name: rows if name in present else np.zeros_like(rows) for name, rows in cold.items()}
    fused = fusion.apply(masked)
    assert fused.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(fused, axis=1), float(bool(present)), atol=1e-5)
    np.testing.assert_allclose(fused, fusion.apply({name: cold[name] for name in present} or masked), atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@given(st.permutations(range(60)))
@settings(max_examples=15, deadline=None)
def test_the_order_of_items_changes_nothing(method: str, order: list[int]) -> None:
    vectors = catalogue()
    fusion = fitted(method, vectors)
    shuffled = {name: rows[order] for name, rows in vectors.items()}
    np.testing.assert_allclose(fusion.apply(shuffled), fusion.apply(vectors)[order], atol=1e-6)
    place = np.argsort(order)
    config = FusionConfig(method=method, pair_prior=10)  # type: ignore[arg-type]
    again = fit_fusion(shuffled, config, pairs=place[alike()]).apply(vectors)
    first = fusion.apply(vectors)
    np.testing.assert_allclose(again @ again.T, first @ first.T, atol=2e-3)


@pytest.mark.parametrize("method", METHODS)
def test_one_items_missing_modality_leaves_all_others_as_they_were(method: str) -> None:
    vectors = catalogue()
    fusion = fitted(method, vectors)
    without = {name: rows.copy() for name, rows in vectors.items()}
    without["image"][5] = 0
    before, after = fusion.apply(vectors), fusion.apply(without)
    np.testing.assert_allclose(np.delete(after, 5, axis=0), np.delete(before, 5, axis=0), atol=1e-6)
    assert np.isfinite(after).all()


def test_neighbours_by_one_modality_keep_their_order_when_the_others_are_missing() -> None:
    vectors = {name: rows if name == "image" else np.zeros_like(rows) for name, rows in catalogue().items()}
    fusion = fitted("concatenate", catalogue())
    white = fit_whitening(catalogue()["image"], 64, 5.0).apply(vectors["image"])
    fused = fusion.apply(vectors)
    np.testing.assert_allclose(fused @ fused.T, white @ white.T, atol=1e-5)


def test_a_picture_only_item_is_near_texts_of_its_kind_in_the_shared_space_only() -> None:
    vectors = catalogue(200, noise=0.3)
    kinds = np.arange(200) % 4
    similarity = {}
    for method in ("concatenate", "mean"):
        fusion = fitted(method, vectors)
        pictures = fusion.apply({"image": vectors["image"]})
        texts = fusion.apply({"text": vectors["text"]})
        has = vectors["image"].any(axis=1), vectors["text"].any(axis=1)
        scores = (pictures @ texts.T)[np.ix_(*has)]
        same = kinds[has[0]][:, None] == kinds[has[1]][None]
        similarity[method] = (scores[same].mean(), scores[~same].mean())
    assert similarity["concatenate"] == (0, 0)
    assert similarity["mean"][0] > similarity["mean"][1] + 0.3


def test_only_training_items_are_learned_from() -> None:
    vectors = catalogue()
    training = np.arange(60) < 40
    changed = {
        name: np.where(training[:, None], rows, rows * -3 + 1).astype(np.float32) for name, rows in vectors.items()
    }
    for method in METHODS:
        config = FusionConfig(method=method)  # type: ignore[arg-type]
        models = {fit_fusion(one, config, training=training, pairs=alike()).model for one in (vectors, changed)}
        assert len(models) == 1
        assert fit_fusion(changed, config, pairs=alike()).model not in models


def test_gates_follow_the_modality_in_which_what_is_consumed_together_is_alike() -> None:
    generator = np.random.default_rng(0)
    rows = {name: l2_normalise(generator.standard_normal((300, 8)).astype(np.float32)) for name in ("noise", "signal")}
    rows["signal"][150:] = l2_normalise(rows["signal"][:150] + 0.1 * rows["signal"][150:])
    pairs = np.stack([np.arange(150), np.arange(150, 300)], axis=1)
    weights = fit_gates(rows, pairs, dropout=0.2, least=0.05, seed=0)
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["signal"] > 0.8
    assert weights["noise"] >= 0.04


def test_dropout_spreads_the_weight_over_modalities_that_say_the_same() -> None:
    generator = np.random.default_rng(1)
    base = generator.standard_normal((400, 8)).astype(np.float32)
    base[200:] = base[:200] + 0.8 * base[200:]
    rows = {
        "clear": l2_normalise(base),
        "blurred": l2_normalise(base + 0.3 * generator.standard_normal(base.shape).astype(np.float32)),
    }
    pairs = np.stack([np.arange(200), np.arange(200, 400)], axis=1)
    shares = [fit_gates(rows, pairs, dropout=dropout, least=0.01, seed=0)["blurred"] for dropout in (0.0, 0.5, 0.9)]
    assert shares == sorted(shares)
    assert shares[0] < shares[2] <= 0.5


def test_pairs_are_one_users_consecutive_different_items() -> None:
    users, items = np.array([1, 1, 1, 1, 2, 2, 3]), np.array([5, 6, 6, 7, 7, 5, 9])
    assert co_consumed_pairs(users, items, 10, seed=0).tolist() == [[5, 6], [6, 7], [7, 5]]
    assert len(co_consumed_pairs(users, items, 2, seed=0)) == 2
    assert co_consumed_pairs(users[:1], items[:1], 2, seed=0).shape == (0, 2)


def test_whitening_without_shrinkage_gives_each_direction_the_same_variance() -> None:
    rows = np.random.default_rng(0).standard_normal((500, 6)).astype(np.float32) * np.array(
        [9, 5, 3, 2, 1, 1], dtype=np.float32
    )
    whitening = fit_whitening(rows, 4, 0.0)
    white = (l2_normalise(rows) - whitening.mean) @ whitening.projection
    np.testing.assert_allclose(white.T @ white / 500, np.eye(4), atol=1e-3)
    assert whitening.apply(np.zeros((2, 6), dtype=np.float32)).tolist() == [[0] * 4] * 2


def test_vectors_that_do_not_vary_are_passed_on() -> None:
    rows = np.ones((5, 3), dtype=np.float32)
    np.testing.assert_allclose(fit_whitening(rows, 2, 1.0).apply(rows), rows / np.sqrt(3), rtol=1e-6)


def test_modalities_that_no_item_has_together_are_not_pulled_together() -> None:
    rows = l2_normalise(np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32))
    one, other = rows.copy(), rows.copy()
    one[20:], other[:20] = 0, 0
    maps = fit_shared_space({"one": one, "other": other}, 8, 1.0, 10.0)
    np.testing.assert_allclose(maps["one"] @ maps["other"].T, 0, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_what_was_learned_is_plain_arrays_there_and_back(method: str) -> None:
    vectors = catalogue()
    fusion = fitted(method, vectors)
    again = Fusion.from_arrays(fusion.to_arrays())
    assert again.model == fusion.model
    np.testing.assert_array_equal(again.apply(vectors), fusion.apply(vectors))
    assert sum(fusion.weights.values()) == pytest.approx(1)


def test_what_cannot_be_fused_is_named() -> None:
    vectors = catalogue()
    with pytest.raises(TrainingError, match="items consumed together"):
        fit_fusion(vectors, FusionConfig(method="gated"))
    with pytest.raises(TrainingError, match="nothing to learn") as caught:
        fit_fusion({**vectors, "audio": np.zeros((60, 6), dtype=np.float32)}, FusionConfig())
    assert caught.value.culprits == ("audio",)
    with pytest.raises(TrainingError, match="nothing to learn"):
        fit_fusion({}, FusionConfig())
    with pytest.raises(ContractError, match="same items"):
        fit_fusion({**vectors, "text": vectors["text"][:3]}, FusionConfig())
    with pytest.raises(ContractError, match="modalities and widths") as refused:
        fitted("mean", vectors).apply({"smell": vectors["text"]})
    assert refused.value.culprits == ("smell",)
    lonely = {
        name: np.where(np.arange(60)[:, None] == place, rows, 0)
        for place, (name, rows) in enumerate(catalogue(seed=3).items())
    }
    if all(rows.any() for rows in lonely.values()):
        with pytest.raises(TrainingError, match="in common"):
            fit_fusion(lonely, FusionConfig(method="gated"), pairs=alike())


def test_views_teach_gates_and_nothing_else() -> None:
    vectors, config = catalogue(), FusionConfig(method="gated", pair_prior=10)
    noise = np.random.default_rng(5).standard_normal(vectors["image"].shape).astype(np.float32)
    unlike = np.where(vectors["image"].any(axis=1, keepdims=True), noise, 0).astype(np.float32)
    plain = fit_fusion(vectors, config, pairs=alike())
    warned = fit_fusion(vectors, config, pairs=alike(), views={"image": unlike})
    assert warned.weights["image"] < plain.weights["image"]
    arrays, others = plain.to_arrays(), warned.to_arrays()
    assert all(np.array_equal(arrays[name], others[name]) for name in arrays if not name.endswith("/weight"))
    itself = fit_fusion(vectors, config, pairs=alike(), views={"image": vectors["image"]})
    assert itself.model == plain.model
    mean = FusionConfig(method="mean", pair_prior=10)
    assert fit_fusion(vectors, mean, views={"image": unlike}).model == fit_fusion(vectors, mean).model
