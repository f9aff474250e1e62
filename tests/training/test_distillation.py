import numpy as np
import pytest

from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.training.distillation import COSINE, DistillationConfig, DistillationTask
from genre_pipeline.training.loop import train

WORDS = ["river", "night", "war", "love", "city", "storm"]
LSTM = {"embedding_width": 8, "hidden_width": 8, "least_count": 1, "dropout": 0.0, "word_dropout": 0.0}


def test_a_small_tower_learns_to_say_what_the_large_one_says() -> None:
    random = np.random.default_rng(0)
    meanings = random.normal(size=(len(WORDS), 5))
    rows = [random.choice(len(WORDS), 3) for _ in range(120)]
    texts = [" ".join(WORDS[word] for word in row) for row in rows]
    vectors = np.stack([meanings[row].mean(0) for row in rows]).astype(np.float32)
    config = DistillationConfig.model_validate(
        {
            "student": {"kind": "lstm", "fine_tune": "full", "lstm": LSTM},
            "epochs": 12,
            "batch_size": 8,
            "learning_rate": 0.02,
        }
    )
    task = DistillationTask(texts, vectors, config, seed=1)
    cosine = train(task, config, seed=1).epochs[COSINE]
    assert cosine[0] < 0.9 < cosine[-1]
    assert task.model.width == 5


def test_too_few_texts_are_refused() -> None:
    with pytest.raises(TrainingError, match="too few"):
        DistillationTask(["a"], np.ones((1, 2), dtype=np.float32), DistillationConfig(), seed=1)
