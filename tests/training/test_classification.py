from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from genre_pipeline.contracts.errors import ModelFileError, TrainingError
from genre_pipeline.models.bert import tiny_encoder
from genre_pipeline.training.bundle import save_bundle
from genre_pipeline.training.classification import (
    ClassificationConfig,
    ClassificationTask,
    LabelledTexts,
    predict,
    read_texts,
)
from genre_pipeline.training.classifier_bundle import load_classifier, save_classifier
from genre_pipeline.training.layer_cache import LayerCache
from genre_pipeline.training.loop import train

GOOD, BAD, NEUTRAL = ["fine", "lovely"], ["dull", "awful"], ["film", "cast", "the", "story", "was"]
LSTM = {"embedding_width": 8, "hidden_width": 8, "least_count": 1, "word_dropout": 0.0, "dropout": 0.0}


def _reviews(count: int, seed: int) -> LabelledTexts:
    """One word of the verdict somewhere among neutral ones."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    texts = []
    for label in labels:
        words = list(random.choice(NEUTRAL, int(random.integers(1, 12))))
        words.insert(int(random.integers(len(words) + 1)), str(random.choice(GOOD if label else BAD)))
        texts.append(" ".join(words))
    return LabelledTexts(pl.Series(texts), labels.astype(np.float32))


def _task(tower: dict, *, cache: LayerCache | None = None, **options: object) -> ClassificationTask:
    values: dict = {"epochs": 2, "learning_rate": 0.02, "batch_size": 16, "head_dropout": 0.0, **options}
    config = ClassificationConfig.model_validate({"tower": {"max_tokens": 16, **tower}, **values})
    watched = {"validation": _reviews(40, 2), "test": _reviews(40, 3)}
    return ClassificationTask(_reviews(160, 1), config, seed=5, watched=watched, cache=cache)


def _lstm(**options: object) -> ClassificationTask:
    return _task({"kind": "lstm", "fine_tune": "full", "lstm": LSTM}, **options)


def test_an_lstm_learns_the_verdict_and_repeats_itself() -> None:
    runs = []
    for _ in range(2):
        task = _lstm(epochs=6)
        result = train(task, task.config, seed=5)
        runs.append((result.epochs.drop("seconds"), {k: v.clone() for k, v in task.model.state_dict().items()}))
    epochs = runs[0][0]
    assert epochs.columns == [
        "epoch", "train_loss", "learning_rate", "validation_loss", "validation_accuracy", "test_loss", "test_accuracy",
    ]  # fmt: skip
    assert epochs["test_accuracy"][-1] > 0.9
    assert result.best_epoch == epochs["validation_loss"].arg_min() + 1
    assert epochs.equals(runs[1][0])
    assert all(torch.equal(weight, runs[1][1][name]) for name, weight in runs[0][1].items())


def test_the_vocabulary_is_of_the_training_texts_alone() -> None:
    task = _lstm()
    task.watched = {"validation": LabelledTexts(pl.Series(["unheard film"]), np.ones(1, dtype=np.float32))}
    torch.manual_seed(0)
    task.prepare()
    assert "unheard" not in task.model.tower.vocabulary
    assert set(task.model.tower.vocabulary) == {"<pad>", "<unk>", *GOOD, *BAD, *NEUTRAL}


def test_an_epoch_has_every_text_once_in_an_order_of_its_own() -> None:
    task = _lstm()
    torch.manual_seed(0)
    task.prepare()
    first, again, second = ([batch.inputs for batch in task.batches(epoch)] for epoch in (1, 1, 2))
    assert sum(len(batch) for batch in first) == 160
    assert len(first) == task.batch_count()
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert [one.shape for one in first] != [one.shape for one in second]


def test_cached_layers_train_to_the_same_curve(tmp_path: Path) -> None:
    folder = tiny_encoder(tmp_path / "model", [*GOOD, *BAD, *NEUTRAL])
    tower = {"kind": "bert", "source": str(folder), "fine_tune": "top_layers", "top_layers": 1}
    curves = []
    for cache in (None, LayerCache(tmp_path / "cache")):
        task = _task(tower, cache=cache, learning_rate=1e-3)
        curves.append(train(task, task.config, seed=5).epochs["train_loss"].to_numpy())
    assert (task.read.states is None) is False
    np.testing.assert_allclose(curves[0], curves[1], atol=1e-3)


@pytest.mark.parametrize("kind", ["lstm", "bert"])
def test_a_classifier_comes_back_from_its_bundle(tmp_path: Path, kind: str) -> None:
    folder = tiny_encoder(tmp_path / "model", NEUTRAL)
    bert = {"kind": "bert", "source": str(folder), "fine_tune": "lora", "lora": {"targets": "all-linear"}}
    task = _lstm() if kind == "lstm" else _task(bert, learning_rate=1e-3, epochs=1)
    train(task, task.config, seed=5)
    before = predict(task.model, task.read)
    sha256 = save_classifier(tmp_path / "bundle", task.model, decisions={"seed": 5})
    again = load_classifier(tmp_path / "bundle", sha256=sha256)
    np.testing.assert_allclose(predict(again, read_texts(task.data, again.tower)), before, atol=1e-5)


def test_a_bundle_of_something_else_is_refused(tmp_path: Path) -> None:
    for name, config, said in (
        ("kind", {"tower": {"kind": "x"}}, "describes no tower"),
        ("none", {}, "lacks 'tower'"),
        ("files", {"tower": {"kind": "bert"}}, r"lacks 'backbone\.json'"),
        ("words", {"tower": {"kind": "lstm", "fine_tune": "full"}}, r"lacks 'vocabulary\.json'"),
    ):
        save_bundle(tmp_path / name, "text_classifier", tensors={"a": torch.ones(1)}, config=config)
        with pytest.raises(ModelFileError, match=said):
            load_classifier(tmp_path / name)


@pytest.mark.parametrize("labels", [[0, 2], [0, np.nan], [1]])
def test_labels_are_one_a_text_of_two_classes(labels: list) -> None:
    with pytest.raises(TrainingError, match="each 0 or 1"):
        LabelledTexts(pl.Series(["a", "b"]), np.array(labels, dtype=np.float32))


def test_without_validation_nothing_is_trained() -> None:
    task = _lstm()
    with pytest.raises(TrainingError, match="validation"):
        ClassificationTask(task.data, task.config, seed=1, watched={"test": task.data})
