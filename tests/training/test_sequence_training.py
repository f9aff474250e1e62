import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.contracts.training_set import TrainingSet, build_training_set
from genre_pipeline.models.sequence_config import SequenceConfig
from genre_pipeline.recommenders.sequential import SequentialConfig, SequentialRecommender
from genre_pipeline.training.sequence_training import (
    SequenceTrainingConfig,
    TrainedSequence,
    refit_sequence,
    train_sequence,
)
from genre_pipeline.training.validation import ValidationTarget, user_ndcg, validation_target

AS_OF = datetime(2024, 1, 1, tzinfo=UTC)
NETWORK = SequenceConfig(width=16, blocks=1, heads=2, length=8, dropout=0.1)
CONFIG = SequenceTrainingConfig(network=NETWORK, epochs=8, batch_size=16, learning_rate=0.02)
N_ITEMS = 20


def cycles(n_users: int = 60, steps: int = 7) -> tuple[TrainingSet, pl.DataFrame]:
    """Everybody walks round a ring of items, three at a time: after item j always comes j + 3."""
    rows = [
        (f"u{user:03d}", f"i{(user + 3 * step) % N_ITEMS:02d}", AS_OF - timedelta(days=10) + timedelta(hours=step))
        for user in range(n_users)
        for step in range(steps)
    ]
    interactions = pl.DataFrame(
        rows, schema={"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Datetime("us", "UTC")}, orient="row"
    ).with_columns(event=pl.lit("view"))
    truth = pl.DataFrame(
        [(f"u{user:03d}", f"i{(user + 3 * steps) % N_ITEMS:02d}") for user in range(n_users)],
        schema={"user_id": pl.String, "item_id": pl.String},
        orient="row",
    )
    items = pl.DataFrame(
        {"item_id": [f"i{number:02d}" for number in range(N_ITEMS + 1)]},
    ).with_columns(
        available=pl.lit(True),
        published_at=pl.lit(None, pl.Datetime("us", "UTC")),
        categories=pl.lit([], pl.List(pl.String)),
    )
    vectors = pl.DataFrame(
        {
            "item_id": items["item_id"],
            "vector": pl.Series(np.eye(N_ITEMS + 1, 8).tolist(), dtype=pl.List(pl.Float32)),
        }
    )
    return build_training_set(interactions, items, as_of=AS_OF, item_vectors={"text_llm": vectors}), truth


def _ticks(step: float) -> Iterator[float]:
    now = 0.0
    while True:
        yield now
        now += step


def _train(config: SequenceTrainingConfig = CONFIG, *, seed: int = 1, step: float = 0.0, **options) -> TrainedSequence:
    ticks = _ticks(step)
    return train_sequence(cycles()[0], config, seed=seed, clock=lambda: next(ticks), **options)


@pytest.fixture(scope="module")
def validated() -> TrainedSequence:
    data, truth = cycles()
    return _train(validation=validation_target(data, truth))


def test_it_learns_what_comes_next(validated: TrainedSequence) -> None:
    data, truth = cycles()
    ndcg = user_ndcg(validated.model, data, validation_target(data, truth))
    assert ndcg["user_id"].to_list() == data.user_ids.to_list()
    assert ndcg["ndcg"].mean() > 0.9
    assert ndcg["ndcg"].mean() == pytest.approx(validated.decisions["validation_ndcg"])


def test_curves_have_a_row_an_epoch_and_the_best_one_was_kept(validated: TrainedSequence) -> None:
    curves = validated.curves
    assert curves.columns == ["epoch", "train_loss", "learning_rate", "validation_ndcg", "seconds"]
    assert curves["epoch"].to_list() == list(range(1, curves.height + 1))
    assert validated.best_epoch == curves["validation_ndcg"].arg_max() + 1  # type: ignore[operator]
    assert curves["train_loss"][-1] < curves["train_loss"][0] / 2


def kinds_of_events(n_users: int = 90, steps: int = 7) -> tuple[TrainingSet, pl.DataFrame]:
    """What comes next is told by the kind of the last event alone: after a view the item ahead, after a purchase the
    one behind."""
    random = np.random.default_rng(3)
    events = random.choice(["purchase", "view"], (n_users, steps))
    strides = np.where(events == "view", 1, -1)
    places = (
        np.concatenate([np.zeros((n_users, 1), int), strides.cumsum(axis=1) * 3], axis=1) + np.arange(n_users)[:, None]
    )
    items = [[f"i{place % N_ITEMS:02d}" for place in row] for row in places]
    interactions = pl.DataFrame({
        "user_id": np.repeat([f"u{user:03d}" for user in range(n_users)], steps),
        "item_id": [one for row in items for one in row[:steps]],
        "timestamp": [AS_OF - timedelta(days=10) + timedelta(hours=step) for step in range(steps)] * n_users,
        "event": events.ravel(),
    }).with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")))  # fmt: skip
    known = pl.DataFrame({"item_id": [f"i{number:02d}" for number in range(N_ITEMS)]}).with_columns(
        available=pl.lit(True), published_at=pl.lit(None, pl.Datetime("us", "UTC")),
        categories=pl.lit([], pl.List(pl.String)),
    )  # fmt: skip
    truth = pl.DataFrame(
        {"user_id": [f"u{user:03d}" for user in range(n_users)], "item_id": [row[-1] for row in items]}
    )
    return build_training_set(interactions, known, as_of=AS_OF), truth


def _right_at_first(trained: TrainedSequence, data: TrainingSet, truth: pl.DataFrame) -> float:
    """Share of users whose next item has the highest score, things they had included."""
    scores = SequentialRecommender(SequentialConfig()).attach(trained.model, data).score(np.arange(data.n_users))
    return float(np.mean(data.item_ids.gather(scores.argmax(axis=1)).to_numpy() == truth["item_id"].to_numpy()))


def test_what_lies_in_the_kind_of_event_is_learned_only_if_it_is_read() -> None:
    data, truth = kinds_of_events()
    right = {
        reads: _right_at_first(
            train_sequence(data, CONFIG.model_copy(update={"network": network, "epochs": 25}), seed=1), data, truth
        )
        for reads in (True, False)
        for network in [NETWORK.model_copy(update={"event_types": reads})]
    }
    assert right[True] > 0.9
    assert right[False] < 0.7


def test_one_kind_of_event_adds_nothing_to_the_network(validated: TrainedSequence) -> None:
    assert validated.model.event_types == ()
    assert "events.weight" not in validated.model.state_dict()


@pytest.mark.parametrize("softmax", [{}, {"full_softmax_below": 0, "negatives": 8, "negative_sampling": "popularity"}])
def test_a_seed_fixes_every_bit_and_leaves_the_global_generator_alone(softmax: dict[str, object]) -> None:
    config = CONFIG.model_copy(update={"epochs": 2, **softmax})
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    one, same, other = _train(config), _train(config), _train(config, seed=2)
    assert torch.equal(torch.rand(3), expected)
    weights, again, different = (trained.model.state_dict() for trained in (one, same, other))
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert not torch.equal(weights["items.ids.weight"], different["items.ids.weight"])
    assert one.decisions == same.decisions


def test_sampled_softmax_learns_it_too() -> None:
    data, truth = cycles()
    for sampling in ("uniform", "popularity"):
        config = CONFIG.model_copy(update={"full_softmax_below": 0, "negatives": 8, "negative_sampling": sampling})
        trained = _train(config, validation=validation_target(data, truth))
        assert trained.decisions["softmax"] == "sampled 8"
        assert trained.decisions["validation_ndcg"] > 0.9


def test_it_stops_when_validation_no_longer_rises() -> None:
    data, _ = cycles()
    never = ValidationTarget(np.array([0]), np.array([N_ITEMS - 1]))
    hidden = TrainingSet(**{**data.__dict__, "is_candidate": np.arange(N_ITEMS + 1) != N_ITEMS - 1})
    trained = train_sequence(hidden, CONFIG.model_copy(update={"patience": 2}), seed=1, validation=never)
    assert (trained.curves.height, trained.best_epoch) == (3, 1)


def test_the_time_budget_cuts_the_plan() -> None:
    trained = _train(CONFIG.model_copy(update={"max_minutes": 1.0}), step=4.0)
    assert (trained.planned_epochs, trained.curves.height, trained.best_epoch) == (3, 3, 3)


def test_a_refit_repeats_the_validated_schedule(validated: TrainedSequence) -> None:
    data, _ = cycles(80)
    plan = (validated.planned_epochs, validated.best_epoch)
    refitted = refit_sequence(data, CONFIG, plan, seed=1)
    assert refitted.curves.height == refitted.best_epoch == validated.best_epoch
    kept = validated.curves.head(validated.best_epoch)
    assert refitted.planned_epochs == CONFIG.epochs
    assert refitted.curves["learning_rate"].max() == pytest.approx(kept["learning_rate"].max(), rel=0.2)


def test_progress_is_reported_after_each_epoch() -> None:
    rows: list[dict[str, float]] = []
    _train(CONFIG.model_copy(update={"epochs": 2}), report=lambda row: rows.append(dict(row)))
    assert [row["epoch"] for row in rows] == [1, 2]
    assert "validation_ndcg" not in rows[0]


def test_configurations_and_decisions_are_read_without_torch() -> None:
    modules = (
        "sequence_training",
        "sequence_loss",
        "validation",
        "batches",
        "loop",
        "bundle",
        "sequence_bundle",
        "promotion",
        "figures",
    )
    imports = ", ".join(f"genre_pipeline.training.{name}" for name in modules)
    program = f"import sys, {imports}; sys.exit(bool({{'torch', 'matplotlib', 'mlflow'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_too_little_history_is_refused() -> None:
    data, _ = cycles(n_users=60, steps=1)
    with pytest.raises(TrainingError, match="hold 0 pairs"):
        train_sequence(data, CONFIG, seed=1)


def test_a_diverging_training_is_refused() -> None:
    with pytest.raises(TrainingError, match="diverged"):
        _train(CONFIG.model_copy(update={"learning_rate": 1e30, "clip_norm": 1e30}))


def test_content_that_the_data_lacks_is_masked_and_said() -> None:
    trained = _train(CONFIG.model_copy(update={"epochs": 1, "content": "image_cnn"}))
    assert trained.decisions["content_items"] == 0
    assert _train(CONFIG.model_copy(update={"epochs": 1})).decisions["content_items"] == 8


def test_a_resumed_training_ends_with_the_same_bytes(tmp_path: Path) -> None:
    class CutShortError(Exception):
        pass

    def stop(row: Mapping[str, float]) -> None:
        if row["epoch"] == 2:
            raise CutShortError

    config = CONFIG.model_copy(update={"epochs": 3, "checkpoint_every": 3})
    expected = _train(config)
    with pytest.raises(CutShortError):
        _train(config, checkpoints=tmp_path, report=stop)
    resumed = _train(config, checkpoints=tmp_path)
    assert all(
        torch.equal(tensor, resumed.model.state_dict()[name]) for name, tensor in expected.model.state_dict().items()
    )
    assert resumed.steps["train_loss"].equals(expected.steps["train_loss"])
    assert len(list(tmp_path.iterdir())) == 1
    train_sequence(cycles(61)[0], config, seed=1, checkpoints=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2, "other data, another training"


def test_blocks_computed_again_learn_the_same() -> None:
    config = CONFIG.model_copy(update={"epochs": 2})
    plain, again = _train(config), _train(config.model_copy(update={"gradient_checkpointing": True}))
    assert again.model.computes_again
    assert again.curves["train_loss"].to_list() == pytest.approx(plain.curves["train_loss"].to_list(), rel=1e-5)
