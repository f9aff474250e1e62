"""Many texts at once are gone on from as each would be alone, which transformers' own `generate` says."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genre_pipeline.models.causal import load_writer, locate_causal, tiny_causal
from genre_pipeline.models.causal_decoding import Choice, choose, decode, penalised

TEXTS = [[5, 9, 30], [7], [40, 41, 42, 43, 44, 45, 46], [9, 9]]
GREEDY = Choice()
DRAWN = Choice(temperature=0.9, top_p=0.95)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_writer(locate_causal(str(tiny_causal(tmp_path_factory.mktemp("writer"), has_head=True))))[0]


def gone_on(model: Any, texts: Sequence[Sequence[int]], choice: Choice = GREEDY, **asked: Any) -> list[list[int]]:
    settings: dict[str, Any] = {
        "max_new": [12] * len(texts),
        "seeds": list(range(len(texts))),
        "ends": frozenset(),
        "is_over": lambda row, tokens: False,
    }
    return decode(model, texts, choice=choice, **{**settings, **asked})


def by_transformers(model: Any, text: Sequence[int], **asked: Any) -> list[int]:
    ids = torch.tensor([list(text)])
    made = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, eos_token_id=None,
        pad_token_id=0, **asked,
    )  # fmt: skip
    return made[0, len(text) :].tolist()


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_a_batch_of_texts_goes_on_as_each_alone(model: Any, penalty: float) -> None:
    together = gone_on(model, TEXTS, Choice(repetition_penalty=penalty))
    assert together == [by_transformers(model, text, repetition_penalty=penalty) for text in TEXTS]


@pytest.mark.parametrize("texts", [[[7, 8, 9, 30], [7, 8, 9, 31, 32, 33], [7, 8, 9]], [[4, 4, 4], [4, 4, 4]]])
def test_a_common_start_is_read_once_and_changes_nothing(model: Any, texts: list[list[int]]) -> None:
    together = gone_on(model, texts, Choice(repetition_penalty=1.3))
    assert together == [by_transformers(model, text, repetition_penalty=1.3) for text in texts]


def test_a_text_that_has_ended_leaves_the_others_as_they_were(model: Any) -> None:
    alone = gone_on(model, TEXTS)
    over = gone_on(model, TEXTS, is_over=lambda row, tokens: row == 2 and len(tokens) == 3)
    assert over == [alone[0], alone[1], alone[2][:3], alone[3]]
    assert gone_on(model, TEXTS, max_new=[1, 12, 4, 12]) == [alone[0][:1], alone[1], alone[2][:4], alone[3]]


def test_the_token_that_ends_a_text_is_no_part_of_it(model: Any) -> None:
    alone = gone_on(model, TEXTS)
    end = alone[0][2]
    cut = [text[: text.index(end)] if end in text else text for text in alone]
    assert gone_on(model, TEXTS, ends=frozenset([end])) == cut


def test_draws_are_the_seeds_own_whatever_the_company(model: Any) -> None:
    seeds = [11, 12, 13, 14]
    together = gone_on(model, TEXTS, DRAWN, seeds=seeds)
    alone = [gone_on(model, [text], DRAWN, seeds=[seed])[0] for text, seed in zip(TEXTS, seeds, strict=True)]
    assert together == alone
    assert together != gone_on(model, TEXTS, DRAWN, seeds=[21, 22, 23, 24])


def test_padding_is_not_said() -> None:
    logits, seen = torch.tensor([[2.0, -2.0, 1.0]]), torch.tensor([[True, True, False]])
    assert penalised(logits, seen, 2.0).tolist() == [[1.0, -4.0, 1.0]]
    assert penalised(logits, None, 2.0) is logits


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=12),
    st.floats(0, 1, exclude_max=True),
    st.floats(0.05, 1),
)
def test_what_is_drawn_lies_in_the_smallest_set_that_holds_the_share(
    logits: list[float], chance: float, top_p: float
) -> None:
    row = torch.tensor([logits])
    token = int(choose(row, Choice(temperature=1.0, top_p=top_p), np.array([chance]))[0])
    shares = torch.softmax(row, -1)[0]
    likelier = float(shares[shares > shares[token]].sum())
    assert likelier < top_p + 1e-6


def test_a_chance_that_rounds_to_one_falls_on_the_last_token_kept() -> None:
    row = torch.tensor([[1.0, 0.0, -9.0]])
    almost = np.array([np.nextafter(1.0, 0.0)])
    assert choose(row, Choice(temperature=1.0, top_p=0.5), almost).tolist() == [0]
    assert choose(row, Choice(temperature=1.0, top_p=0.9), almost).tolist() == [1]


def test_draws_follow_the_probabilities() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]]).repeat(4000, 1)
    drawn = choose(logits, Choice(temperature=1.0), np.random.default_rng(0).random(4000))
    shares = torch.bincount(drawn, minlength=3) / 4000
    np.testing.assert_allclose(shares, torch.softmax(logits[0], -1), atol=0.03)
