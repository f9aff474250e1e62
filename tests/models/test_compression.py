from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from genre_pipeline.contracts.errors import ConfigError, ModelFileError
from genre_pipeline.models.bert import tiny_encoder
from genre_pipeline.models.compression import Truncation, int8_tower, normalised, sliced
from genre_pipeline.models.int8_linear import Int8Linear
from genre_pipeline.models.tower import ItemTower, encode_tokens
from genre_pipeline.models.tower_config import Int8Layer, TowerConfig
from genre_pipeline.models.towers import blank_tower, build_tower, finish_tower

TEXTS = ["film of rivers", "a quiet night", "war"]


@pytest.fixture
def tower(tmp_path: Path) -> ItemTower:
    folder = tiny_encoder(tmp_path / "model", ["film", "river", "night"])
    return finish_tower(build_tower(TowerConfig(source=str(folder), fine_tune="frozen")))


@settings(max_examples=30, deadline=None)
@given(inputs=st.integers(1, 40), outputs=st.integers(1, 9), rows=st.integers(1, 5), smoothed=st.booleans())
def test_an_8_bit_layer_gives_nearly_what_its_twin_gives(inputs: int, outputs: int, rows: int, smoothed: bool) -> None:
    generator = torch.Generator().manual_seed(inputs * 100 + outputs)
    linear, x = nn.Linear(inputs, outputs), torch.randn(rows, inputs, generator=generator)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(outputs, inputs, generator=generator))
        exact, given_ = linear(x), Int8Linear.of(linear, x.abs().amax(0) if smoothed else None)(x)
    bound = (x.abs().max() * linear.weight.abs().max()).item() * inputs * 0.05 + 1e-3
    assert (given_ - exact).abs().max().item() <= bound


def test_large_neighbours_do_not_overflow() -> None:
    linear = nn.Linear(64, 3)
    with torch.no_grad():
        linear.weight.fill_(1.0)
        linear.bias.zero_()
        x = torch.full((2, 64), 100.0)
        torch.testing.assert_close(Int8Linear.of(linear)(x), linear(x), rtol=0.02, atol=0)


def test_an_input_that_stands_out_costs_less_when_it_is_smoothed() -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(32, 8), torch.randn(200, 32)
    x[:, 3] *= 100
    with torch.no_grad():
        linear.weight[:, 3] /= 100
        exact = linear(x)
        plain, smoothed = (Int8Linear.of(linear, peaks)(x) for peaks in (None, x.abs().amax(0)))
    assert (smoothed - exact).norm() < 0.5 * (plain - exact).norm()


def test_an_8_bit_tower_comes_back_from_its_files(tower: ItemTower) -> None:
    small = int8_tower(tower, TEXTS, tolerance=1.0)
    tokens = tower.tokenise(TEXTS)
    vectors, whole = encode_tokens(small, tokens), encode_tokens(tower, tokens)
    assert (normalised(vectors) * normalised(whole)).sum(1).min() > 0.99
    assert not np.array_equal(vectors, whole)
    assert len(small.config.int8) == 12
    again = blank_tower(TowerConfig.model_validate_json(small.config.model_dump_json()), small.files(), "")
    again.load_state_dict(small.state_dict())
    np.testing.assert_array_equal(encode_tokens(again.eval(), tokens), vectors)


def test_a_layer_that_is_not_there_is_refused(tower: ItemTower) -> None:
    for name in ("network.nowhere", "network.embeddings"):
        config = tower.config.model_copy(update={"int8": (Int8Layer(name=name, is_smoothed=False),)})
        with pytest.raises(ModelFileError, match=f"no linear layer '{name}'"):
            blank_tower(config, tower.files(), "")


def test_layers_that_lose_too_much_stay_as_they_are(tower: ItemTower) -> None:
    with pytest.raises(ConfigError, match="No layer of the bert tower"):
        int8_tower(tower, TEXTS, tolerance=1e-6)


def test_truncation_keeps_the_widest_spread() -> None:
    random = np.random.default_rng(0)
    vectors = (random.normal(size=(50, 3)) @ random.normal(size=(3, 8)) + 5).astype(np.float32)
    short = Truncation.fitted(vectors, 3)
    centred = normalised(vectors - vectors.mean(0))
    np.testing.assert_allclose(short(vectors) @ short(vectors).T, centred @ centred.T, atol=1e-4)
    assert short(vectors).dtype == np.float32
    with pytest.raises(ConfigError, match="cannot be truncated to 9"):
        Truncation.fitted(vectors, 9)


def test_sliced_vectors_are_normalised_and_zeros_stay() -> None:
    vectors = np.array([[3, 4, 7], [0, 0, 1]], dtype=np.float32)
    np.testing.assert_allclose(sliced(vectors, 2), [[0.6, 0.8], [0, 0]], atol=1e-7)
