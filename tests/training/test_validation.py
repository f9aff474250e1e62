from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
import torch

from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.models.sequence import SequenceModel
from genre_pipeline.models.sequence_config import SequenceConfig
from genre_pipeline.training.validation import ValidationTarget, user_ndcg, validation_target


def _data() -> TrainingSet:
    events = pl.DataFrame(
        {"user_index": [0, 1, 1], "item_index": [0, 1, 2], "timestamp": [datetime(2024, 1, 1, tzinfo=UTC)] * 3},
        schema={"user_index": pl.UInt32, "item_index": pl.UInt32, "timestamp": pl.Datetime("us", "UTC")},
    ).with_columns(weight=pl.lit(1.0, pl.Float32))
    return TrainingSet(
        user_ids=pl.Series(["a", "b"]),
        item_ids=pl.Series(["p", "q", "r", "s", "t"]),
        events=events,
        is_candidate=np.array([True, True, True, True, False]),
        as_of=datetime(2024, 1, 2, tzinfo=UTC),
    )


class _Fixed(SequenceModel):
    """Prefers items in the order of their positions."""

    def score(self, states: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        return -torch.arange(len(items), dtype=torch.float32).expand(len(states), -1).clone()


def _model(has_id: list[bool]) -> SequenceModel:
    config = SequenceConfig(width=4, blocks=1, heads=1, length=3)
    return _Fixed(config, content=torch.zeros(5, 0), has_id=torch.tensor(has_id))


def test_ndcg_ranks_unseen_candidates_only() -> None:
    target = ValidationTarget(np.array([0, 0, 1]), np.array([2, 4, 3]))
    frame = user_ndcg(_model([True] * 5), _data(), target)
    # a: ranked q, r, s, so that r is second of two wanted; b: ranked p, s.
    second = 1 / np.log2(3)
    expected = pl.DataFrame({"user_id": ["a", "b"], "ndcg": [second / (1 + second), second]})
    assert frame.equals(expected)


def test_an_item_the_model_knows_nothing_of_gains_nothing() -> None:
    target = ValidationTarget(np.array([1]), np.array([3]))
    frame = user_ndcg(_model([True, True, True, False, False]), _data(), target)
    assert frame["ndcg"].to_list() == [0.0]


def test_truth_is_matched_by_id() -> None:
    truth = pl.DataFrame({"user_id": ["b", "a", "stranger", "a", "a"], "item_id": ["p", "s", "p", "unheard", "s"]})
    target = validation_target(_data(), truth)
    assert (target.users.tolist(), target.items.tolist()) == ([0, 1], [3, 0])


def test_truth_without_a_known_user_is_refused() -> None:
    with pytest.raises(TrainingError, match="No validation interaction"):
        validation_target(_data(), pl.DataFrame({"user_id": ["stranger"], "item_id": ["p"]}))


def test_many_users_are_sampled_by_seed() -> None:
    target = ValidationTarget(np.repeat(np.arange(100), 2), np.arange(200))
    some = target.first_users(10, seed=3)
    assert len(np.unique(some.users)) == 10
    assert some.users.tolist() == sorted(some.users)
    assert some.items.tolist() == target.first_users(10, seed=3).items.tolist()
    assert target.first_users(100, seed=3) is target
