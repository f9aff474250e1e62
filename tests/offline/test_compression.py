"""Variants of an item tower: judged as the original is, registered once, with their numbers."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genre_pipeline.adapters.model_registry import ModelRegistry
from genre_pipeline.features.item_texts import ItemTextConfig
from genre_pipeline.models.compression import normalised
from genre_pipeline.models.towers import build_tower, finish_tower
from genre_pipeline.offline.compression import COMPRESSED, Trial, Variant, compressed, measured, ndcg, register, stored
from genre_pipeline.offline.compression import trial_of as trial_from
from tests.training.shop import tables, tiny_tower

ITEMS, INTERACTIONS = tables()


@pytest.fixture(scope="module")
def trial() -> Trial:
    return trial_from(ITEMS, INTERACTIONS, ItemTextConfig(), most=40, seed=1)


@pytest.fixture(scope="module")
def variants(trial: Trial, tmp_path_factory: pytest.TempPathFactory) -> list[Variant]:
    folder = tmp_path_factory.mktemp("variants")
    tower = finish_tower(build_tower(tiny_tower(folder / "encoder").tower))
    made = compressed(tower, trial.sample(0))
    return [stored(name, one, trial.texts, folder / name) for name, one in made.items()]


def test_each_user_is_asked_for_the_last_item_by_those_before(trial: Trial) -> None:
    last = INTERACTIONS.group_by("user_id", maintain_order=True).last()["item_id"].to_list()
    assert len(trial.held_out) == 40
    assert np.bincount(trial.users).tolist() == [11] * 40
    assert {ITEMS["item_id"][int(place)] for place in trial.held_out} <= set(last)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), angle=st.floats(0.1, 3.0))
def test_turning_the_whole_space_changes_no_rank(trial: Trial, seed: int, angle: float) -> None:
    vectors = normalised(np.random.default_rng(seed).normal(size=(len(trial.texts), 4)).astype(np.float32))
    turn = np.eye(4, dtype=np.float32)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert ndcg(vectors @ turn, trial).mean() == pytest.approx(ndcg(vectors, trial).mean(), abs=0.02)


def test_what_points_at_the_answer_is_perfect() -> None:
    vectors = normalised(np.array([[1, 0], [1, 0.1], [0, 1], [-1, 0]], dtype=np.float32))
    asked = Trial(list("abcd"), np.array([0, 1]), np.array([0, 3]), np.array([1, 2]))
    np.testing.assert_allclose(ndcg(vectors, asked), [1, 1])


def test_vectors_that_tell_nothing_apart_are_worth_nothing(trial: Trial) -> None:
    assert not ndcg(np.ones((len(trial.texts), 4), dtype=np.float32), trial).any()


def test_the_table_has_the_original_first_and_every_variant_beside_it(trial: Trial, variants: list[Variant]) -> None:
    table = measured(variants, trial, seed=0, rounds=1)
    assert table["variant"].to_list() == ["float32", "float16", "bfloat16", "int8"]
    assert (table["change"][0], table["margin"][0], table["speed"][0]) == (0, 0, 1)
    assert table["cosine"].min() > 0.98
    assert (table["megabytes"][1:3] < table["megabytes"][0]).all()


def test_variants_are_registered_once_with_their_numbers(trial: Trial, variants: list[Variant], tmp_path: Path) -> None:
    registry = ModelRegistry(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "artifacts")
    table = measured(variants, trial, seed=0, rounds=1)
    made = register(registry, variants, table, {"day": "2024-03-10"})
    assert register(registry, variants, table, {"day": "2024-03-10"}) == []
    assert [one.version for one in registry.versions(COMPRESSED)] == [one.version for one in made] == ["1", "2", "3"]
    assert {one.day for one in made} == {"2024-03-10"}
    assert registry.download(COMPRESSED, "3", tmp_path / "int8").is_dir()

    from mlflow import MlflowClient

    tags = MlflowClient(registry.tracking_uri).get_model_version(COMPRESSED, "3").tags
    assert tags["variant"] == "int8"
    assert float(tags["ndcg"]) == pytest.approx(table["ndcg"][3], rel=1e-3)
    assert {"speed", "megabytes", "change"} <= set(tags)
