import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genre_pipeline.contracts.errors import ConfigError, ModelFileError
from genre_pipeline.models.lstm import LstmTower, vocabulary_of, words_of
from genre_pipeline.models.tower import encode_tokens
from genre_pipeline.models.tower_config import TowerConfig
from genre_pipeline.models.towers import blank_tower, build_tower, finish_tower
from genre_pipeline.models.word_vectors import WordVectors

TEXTS = ["A fine film, a fine cast.", "<br />The film isn't fine!", "Dull cast; dull film"]
SHAPE = {"embedding_width": 6, "hidden_width": 5, "dropout": 0.5, "word_dropout": 0.2, "least_count": 1}


def _config(**options: object) -> TowerConfig:
    values: dict = {"kind": "lstm", "fine_tune": "full", "max_tokens": 8, "lstm": SHAPE, **options}
    return TowerConfig.model_validate(values)


def _tower(**options: object) -> LstmTower:
    torch.manual_seed(0)
    return LstmTower.of_texts(_config(**options), TEXTS)


def test_words_are_lower_case_and_signs_stand_alone() -> None:
    assert words_of(TEXTS[:2]).to_list() == [
        ["a", "fine", "film", ",", "a", "fine", "cast", "."],
        ["the", "film", "isn't", "fine", "!"],
    ]


def test_the_vocabulary_holds_the_most_frequent_words_in_a_fixed_order() -> None:
    assert vocabulary_of(TEXTS, 6, 2) == ["<pad>", "<unk>", "film", "fine", "a", "cast"]
    assert vocabulary_of(TEXTS[::-1], 6, 2) == vocabulary_of(TEXTS, 6, 2)
    assert "the" not in vocabulary_of(TEXTS, 100, 2)


def test_tokens_are_cut_unknown_words_share_one_and_an_empty_text_has_one() -> None:
    tower = _tower(max_tokens=4, tail_tokens=1)
    place = {word: position for position, word in enumerate(tower.vocabulary)}
    read = tower.tokenise(["film fine cast dull the a", "strange film", "", "<br />"])
    assert [one.tolist() for one in read] == [
        [place["film"], place["fine"], place["cast"], place["a"]],
        [1, place["film"]],
        [1],
        [1],
    ]
    assert tower.tokenise([]) == []


def test_both_ends_of_a_text_reach_its_vector() -> None:
    """Backwards in prose only would leave the first state blind to what follows."""
    tower = _tower(pooling="first").eval()
    one, other = tower.tokenise(["film fine cast", "film fine dull"])
    vectors = encode_tokens(tower, [one, other])
    forward = slice(0, SHAPE["hidden_width"])
    assert np.allclose(vectors[0, forward], vectors[1, forward])
    assert not np.allclose(vectors[0], vectors[1])


@pytest.mark.parametrize("pooling", ["max", "mean", "max_mean", "last"])
@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(1, 8), min_size=1, max_size=5), layers=st.integers(1, 2))
def test_padding_moves_no_vector(pooling: str, lengths: list[int], layers: int) -> None:
    tower = _tower(pooling=pooling, lstm={**SHAPE, "layers": layers}).eval()
    random = np.random.default_rng(len(lengths))
    tokens = [random.integers(1, len(tower.vocabulary), length) for length in lengths]
    together, alone = encode_tokens(tower, tokens), [encode_tokens(tower, [one])[0] for one in tokens]
    assert together.shape == (len(lengths), tower.width)
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-6)


def test_training_forgets_words_and_serving_does_not() -> None:
    tower = _tower()
    ids = torch.ones(1, 8, dtype=torch.int64) * 2
    mask = torch.ones(1, 8, dtype=torch.bool)
    torch.manual_seed(1)
    tower.train()
    assert not torch.equal(tower(ids, mask), tower(ids, mask))
    tower.eval()
    assert torch.equal(tower(ids, mask), tower(ids, mask))


def test_equal_seeds_give_equal_towers() -> None:
    one, other = _tower().state_dict(), _tower().state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    torch.manual_seed(1)
    third = LstmTower.of_texts(_config(), TEXTS).state_dict()
    assert not torch.equal(one["lstm.weight_hh_l0"], third["lstm.weight_hh_l0"])


def test_given_word_vectors_open_the_words_they_hold() -> None:
    vectors = WordVectors(["film", "nowhere"], np.arange(12, dtype=np.float32).reshape(2, 6))
    tower = LstmTower.of_texts(_config(), TEXTS, vectors)
    assert tower.words.weight[tower.vocabulary.index("film")].tolist() == [0, 1, 2, 3, 4, 5]
    assert tower.words.weight[tower.vocabulary.index("cast")].abs().max() <= 0.1
    with pytest.raises(ConfigError, match="6 dimensions, the lstm's words 8"):
        LstmTower.of_texts(_config(lstm={**SHAPE, "embedding_width": 8}), TEXTS, vectors)


def test_a_tower_comes_back_from_its_files() -> None:
    tower = finish_tower(build_tower(_config(projection=4), TEXTS))
    again = blank_tower(tower.config, tower.files(), tower.identity)
    again.load_state_dict(tower.state_dict())
    tokens = tower.tokenise(TEXTS)
    assert again.identity == tower.identity
    assert tower.width == 4
    assert not any(weight.requires_grad for weight in tower.parameters())
    np.testing.assert_array_equal(encode_tokens(again, again.tokenise(TEXTS)), encode_tokens(tower, tokens))


@pytest.mark.parametrize("content", [{"a": 1}, ["film"], ["<pad>", "<unk>", "film", "film"]])
def test_a_vocabulary_that_is_none_is_refused(content: object) -> None:
    with pytest.raises(ModelFileError, match="opens with <pad>, <unk>"):
        LstmTower.blank(_config(), {"vocabulary.json": json.dumps(content).encode()}, "")


def test_texts_without_a_frequent_word_are_refused() -> None:
    with pytest.raises(ConfigError, match="No word occurs 9 times"):
        LstmTower.of_texts(_config(lstm={**SHAPE, "least_count": 9}), TEXTS)


@pytest.mark.parametrize("wrong", [{"kind": "bert", "pooling": "max_mean"}, {"tail_tokens": 8}])
def test_settings_that_do_not_fit_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"max_mean|tail_tokens"):
        _config(**{"fine_tune": "full", **wrong})
