"""What every pretrained tower keeps: padding says nothing, two parts make the whole, frozen is frozen."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.models.bert import tiny_encoder
from genre_pipeline.models.causal import tiny_causal
from genre_pipeline.models.lora import merge_adapters
from genre_pipeline.models.token_batches import padded
from genre_pipeline.models.tower import encode_tokens, pooled
from genre_pipeline.models.tower_config import LoraConfig, TowerConfig
from genre_pipeline.models.towers import build_tower

WORDS = ["love", "war", "peace"]
texts = st.lists(st.sampled_from(WORDS), min_size=0, max_size=8).map(" ".join)


@pytest.fixture(scope="module", params=["bert", "gpt"])
def config(request, tmp_path_factory):
    make = tiny_encoder if request.param == "bert" else tiny_causal
    source = make(tmp_path_factory.mktemp(request.param) / "model", WORDS, layers=3)
    instruction = "item: " if request.param == "gpt" else ""
    return TowerConfig(
        kind=request.param,
        source=str(source),
        fine_tune="top_layers",
        top_layers=1,
        max_tokens=32,
        instruction=instruction,
    )


@pytest.fixture(scope="module")
def tower(config):
    return build_tower(config).eval()


def batch(tower, said):
    return tuple(torch.from_numpy(part) for part in padded(tower.tokenise(said), pad=tower.pad))


@settings(max_examples=20, deadline=None)
@given(said=st.lists(texts, min_size=1, max_size=5))
def test_neither_padding_nor_company_changes_a_vector(tower, said):
    tokens = tower.tokenise(said)
    alone, together = encode_tokens(tower, tokens, budget=1), encode_tokens(tower, tokens, budget=1000)
    np.testing.assert_allclose(alone, together, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(said=st.lists(texts, min_size=1, max_size=4), keep=st.integers(0, 3))
def test_the_lower_and_the_upper_part_make_the_whole(tower, said, keep):
    tokens, mask = batch(tower, said)
    whole = build_tower(tower.config.model_copy(update={"fine_tune": "full"})).eval()
    torch.testing.assert_close(tower.upper(tower.lower(tokens, mask, keep), mask, keep), whole(tokens, mask))


def test_only_what_is_asked_for_is_trained(config):
    trained = {
        how: {name for name, weight in tower.named_parameters() if weight.requires_grad}
        for how in ("frozen", "full", "top_layers", "lora")
        for tower in [build_tower(config.model_copy(update={"fine_tune": how}))]
    }
    assert not trained["frozen"]
    assert trained["top_layers"] < trained["full"]
    assert not [name for name in trained["top_layers"] if "layer.0." in name or "layers.0." in name or "embed" in name]
    assert trained["lora"]
    assert all("lora_" in name for name in trained["lora"])


def test_frozen_layers_read_alike_in_training(config):
    tower = build_tower(config).train()
    tokens, mask = batch(tower, ["love and war"])
    one, two = (tower.lower(tokens, mask, tower.frozen_layers) for _reading in range(2))
    assert torch.equal(one, two)


@pytest.mark.parametrize("targets", ["embedding", "attention", "all-linear"])
def test_merged_adapters_give_the_vectors_they_gave_before(config, targets):
    tower = build_tower(config.model_copy(update={"fine_tune": "lora", "lora": LoraConfig(targets=targets)})).eval()
    for weight in tower.parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.1)
    before = tower(*batch(tower, WORDS))
    merge_adapters(tower.network)
    torch.testing.assert_close(tower(*batch(tower, WORDS)), before, atol=1e-5, rtol=1e-4)
    assert not [name for name, _weight in tower.named_parameters() if "lora" in name]


def test_the_instruction_is_read(config):
    if config.kind == "bert":
        with pytest.raises(ValidationError, match="instruction is for a gpt"):
            TowerConfig(source=config.source, instruction="item: ")
        return
    plain = build_tower(config.model_copy(update={"instruction": ""}))
    assert len(build_tower(config).tokenise(["love"])[0]) > len(plain.tokenise(["love"])[0])


def test_more_tokens_than_positions_are_refused(config):
    with pytest.raises(ConfigError, match="reads at most 128 tokens"):
        build_tower(config.model_copy(update={"max_tokens": 500})).tokenise(["love"])


@pytest.mark.parametrize(
    ("how", "expected"), [("mean", [2.0, 3.0]), ("first", [1.0, 5.0]), ("last", [3.0, 1.0]), ("max", [3.0, 5.0])]
)
def test_pooling_looks_at_tokens_only(how, expected):
    states = torch.tensor([[[1.0, 5.0], [3.0, 1.0], [99.0, -99.0]]])
    assert pooled(states, torch.tensor([[True, True, False]]), how).tolist() == [expected]
