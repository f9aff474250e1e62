from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from genre_pipeline.contracts.errors import TrainingError, UnknownUserError
from genre_pipeline.contracts.training_set import TrainingSet, build_training_set
from genre_pipeline.models.sequence_config import SequenceConfig
from genre_pipeline.recommenders.sequential import SequentialConfig, SequentialRecommender
from genre_pipeline.training.sequence_bundle import save_sequence_bundle
from genre_pipeline.training.sequence_training import SequenceTrainingConfig, train_sequence

AS_OF = datetime(2024, 1, 1, tzinfo=UTC)
N_ITEMS = 12
NETWORK = SequenceConfig(width=16, blocks=1, heads=2, length=8, dropout=0.1, id_dropout=0.3)
CONFIG = SequentialConfig(training=SequenceTrainingConfig(network=NETWORK, epochs=6, batch_size=16, learning_rate=0.02))
COLD, BLANK = "i90", "i91"
"""Two items that nobody has had: one with the content of i05, one without any."""


def _data(*extra_items: str, vectors: bool = True) -> TrainingSet:
    rows = [
        (f"u{user:02d}", f"i{(user + 3 * step) % N_ITEMS:02d}", AS_OF + timedelta(hours=step - 100))
        for user in range(48)
        for step in range(5)
    ]
    interactions = pl.DataFrame(
        rows, schema={"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Datetime("us", "UTC")}, orient="row"
    ).with_columns(event=pl.lit("view"))
    ids = [*(f"i{number:02d}" for number in range(N_ITEMS)), COLD, BLANK, *extra_items]
    items = pl.DataFrame({"item_id": ids}).with_columns(
        available=pl.lit(True),
        published_at=pl.lit(None, pl.Datetime("us", "UTC")),
        categories=pl.lit([], pl.List(pl.String)),
    )
    looks = np.vstack([np.eye(N_ITEMS), np.eye(N_ITEMS)[5], *([np.eye(N_ITEMS)[7]] * len(extra_items))])
    described = [one for one in ids if one != BLANK]
    frame = pl.DataFrame({"item_id": described, "vector": pl.Series(looks.tolist(), dtype=pl.List(pl.Float32))})
    return build_training_set(interactions, items, as_of=AS_OF, item_vectors={"text_llm": frame} if vectors else None)


@pytest.fixture(scope="module")
def fitted() -> SequentialRecommender:
    return SequentialRecommender(CONFIG).fit(_data(), seed=1)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data, folder = _data(), tmp_path_factory.mktemp("model") / "bundle"
    trained = train_sequence(data, CONFIG.training, seed=1)
    save_sequence_bundle(trained.model, folder, item_ids=data.item_ids, decisions=trained.decisions)
    return folder


def test_the_next_item_scores_best(fitted: SequentialRecommender) -> None:
    scores = fitted.score(np.arange(48))
    assert (scores.dtype, scores.shape) == (np.float32, (48, N_ITEMS + 2))
    known = scores[:, :N_ITEMS]
    assert np.mean(known.argmax(axis=1) == (np.arange(48) + 15) % N_ITEMS) > 0.9


def test_a_cold_item_is_scored_like_what_it_looks_like_and_a_blank_one_not_at_all(
    fitted: SequentialRecommender,
) -> None:
    data = _data()
    cold, blank, twin = (data.item_positions(pl.Series([one]))[0] for one in (COLD, BLANK, "i05"))
    scores = fitted.score(np.arange(48))
    assert np.isneginf(scores[:, blank]).all()
    assert np.isfinite(np.delete(scores, blank, axis=1)).all()
    assert np.corrcoef(scores[:, cold], scores[:, twin])[0, 1] > 0.5


def test_scores_do_not_depend_on_the_block(fitted: SequentialRecommender) -> None:
    together = fitted.score(np.arange(48))
    np.testing.assert_allclose(together[[7, 3]], fitted.score(np.array([7, 3])), rtol=1e-4, atol=1e-5)
    assert fitted.score(np.array([], dtype=np.int64)).shape == (0, N_ITEMS + 2)


def test_a_fresh_history_scores_as_a_stored_one(fitted: SequentialRecommender) -> None:
    events = _data().events.filter(pl.col("user_index") == 4)
    items, seconds = events["item_index"].to_numpy(), events["timestamp"].dt.epoch("s").to_numpy()
    np.testing.assert_allclose(
        fitted.score_histories([items], [seconds]), fitted.score(np.array([4])), rtol=1e-4, atol=1e-5
    )
    longer = fitted.score_histories([np.append(items, 2)], [np.append(seconds, seconds[-1] + 3600)])
    assert longer[0, :N_ITEMS].argmax() == 5
    assert fitted.score_histories([items]).shape == (1, N_ITEMS + 2)


def test_an_empty_history_is_refused(fitted: SequentialRecommender) -> None:
    with pytest.raises(UnknownUserError, match="history is empty") as caught:
        fitted.score_histories([np.array([1]), np.array([], dtype=np.int64)])
    assert caught.value.culprits == (1,)


def test_a_bundle_scores_as_the_model_it_came_from(fitted: SequentialRecommender, bundle: Path) -> None:
    loaded = SequentialRecommender.from_bundle(bundle, _data())
    np.testing.assert_allclose(loaded.score(np.arange(9)), fitted.score(np.arange(9)), rtol=1e-5, atol=1e-5)


def test_a_bundle_serves_a_catalogue_that_has_grown(fitted: SequentialRecommender, bundle: Path) -> None:
    grown = _data("i001", "i99")
    loaded = SequentialRecommender.from_bundle(bundle, grown)
    scores, before = loaded.score(np.arange(48)), fitted.score(np.arange(48))
    same = grown.item_positions(_data().item_ids)
    np.testing.assert_allclose(scores[:, same], before, rtol=1e-4, atol=1e-4)
    new = grown.item_positions(pl.Series(["i001", "i99"]))
    assert np.isfinite(scores[:, new]).all()


def test_without_vectors_today_a_bundle_keeps_those_it_was_trained_on(
    fitted: SequentialRecommender, bundle: Path
) -> None:
    loaded = SequentialRecommender.from_bundle(bundle, _data(vectors=False))
    np.testing.assert_allclose(loaded.score(np.arange(9)), fitted.score(np.arange(9)), rtol=1e-5, atol=1e-5)


def test_vectors_of_another_encoder_are_refused(bundle: Path) -> None:
    data = _data()
    other = TrainingSet(**{**data.__dict__, "item_vectors": {"text_llm": np.ones((data.n_items, 3), dtype=np.float32)}})
    with pytest.raises(TrainingError, match="width 12, the data has 3"):
        SequentialRecommender.from_bundle(bundle, other)


def test_unfitted_and_foreign_models_are_refused(fitted: SequentialRecommender) -> None:
    with pytest.raises(TrainingError, match="not fitted"):
        SequentialRecommender(CONFIG).score(np.array([0]))
    trained = train_sequence(_data(), CONFIG.training.model_copy(update={"epochs": 1}), seed=1)
    with pytest.raises(TrainingError, match="14 items and the data 15"):
        SequentialRecommender(CONFIG).attach(trained.model, _data("i99"))


def test_reading_the_configuration_does_not_need_a_trained_model() -> None:
    loaded = SequentialConfig.model_validate({"training": {"network": {"width": 32}, "epochs": 3}})
    assert (loaded.training.network.width, loaded.training.epochs) == (32, 3)
