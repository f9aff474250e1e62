"""A trained tower comes back from its bundle as it was, and only whole."""

import json

import numpy as np
import pytest

from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.models.causal import tiny_causal
from genre_pipeline.models.tower import encode_tokens
from genre_pipeline.models.tower_config import LoraConfig, TowerConfig
from genre_pipeline.models.towers import build_tower, finish_tower
from genre_pipeline.training.tower_bundle import load_tower_bundle, save_tower_bundle
from tests.training.shop import tiny_tower

TEXTS = ["red tent old", "map", "a lamp that is not known"]


@pytest.fixture(params=["bert", "bert projected", "bert lora", "gpt", "lstm"])
def tower(request, tmp_path):
    config = tiny_tower(tmp_path / "encoder").tower
    if request.param == "bert projected":
        config = config.model_copy(update={"projection": 8})
    if request.param == "bert lora":
        config = config.model_copy(update={"fine_tune": "lora", "lora": LoraConfig(rank=2)})
    if request.param == "gpt":
        config = TowerConfig(
            kind="gpt",
            source=str(tiny_causal(tmp_path / "gpt")),
            instruction="item: ",
            fine_tune="top_layers",
            top_layers=1,
        )
    if request.param == "lstm":
        config = TowerConfig(kind="lstm", fine_tune="full")
    return finish_tower(build_tower(config, [*TEXTS, *TEXTS]))


def vectors(tower):
    return encode_tokens(tower, tower.tokenise(TEXTS))


def test_a_tower_comes_back_as_it_was(tower, tmp_path):
    sha256 = save_tower_bundle(tower, tmp_path / "bundle", decisions={"seed": 1})
    loaded = load_tower_bundle(tmp_path / "bundle", sha256=sha256)
    np.testing.assert_array_equal(vectors(loaded.tower), vectors(tower))
    assert (loaded.sha256, loaded.decisions) == (sha256, {"seed": 1})
    assert not [weight for weight in loaded.tower.parameters() if weight.requires_grad]


def test_equal_towers_give_equal_bundles(tower, tmp_path):
    assert save_tower_bundle(tower, tmp_path / "one") == save_tower_bundle(tower, tmp_path / "two")


def test_an_altered_file_is_refused(tower, tmp_path):
    save_tower_bundle(tower, tmp_path / "bundle")
    path = tmp_path / "bundle" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "width": 3}))
    with pytest.raises(ModelFileError, match="config"):
        load_tower_bundle(tmp_path / "bundle")


def test_another_bundle_than_the_registered_one_is_refused(tower, tmp_path):
    save_tower_bundle(tower, tmp_path / "bundle")
    with pytest.raises(ModelFileError):
        load_tower_bundle(tmp_path / "bundle", sha256="0" * 64)
