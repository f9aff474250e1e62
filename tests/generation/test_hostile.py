"""Text in a prompt is data: what is not seen goes, what is left reads back, and no delimiter can be met."""

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genre_pipeline.generation.hostile import as_data, delimiter, plain

ANY_TEXT = st.text(max_size=80)


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        (None, ""),
        ("  two \t\n words ", "two words"),
        ("zero\u200bwidth\u2060 and\ufeff mark", "zerowidth and mark"),
        ("left\u202eto\u202c right\u2066", "leftto right"),
        ("tags\U000e0041\U000e0042", "tags"),
        ("selectors\ufe0f\U000e0101", "selectors"),
        ("nul\x00bell\x07", "nulbell"),
        ("e\u0301 is one letter", "é is one letter"),
        ("e\u200b\u0301 too", "é too"),
        ("private \ue000 use", "private use"),
    ],
)
def test_only_what_a_person_sees_is_left(written: str | None, seen: str) -> None:
    assert plain(written, 100) == seen


def test_a_long_text_is_cut() -> None:
    assert plain("word " * 100, 12) == "word word wo"
    assert plain("word " * 100, 10) == "word word"


@settings(deadline=None)
@given(ANY_TEXT, st.integers(0, 40))
def test_plain_is_idempotent_and_has_nothing_unseen(text: str, limit: int) -> None:
    once = plain(text, limit)
    assert plain(once, limit) == once
    assert len(once) <= limit
    assert not {unicodedata.category(letter) for letter in once} & {"Cc", "Cf", "Cs", "Co", "Cn"}


@settings(deadline=None)
@given(st.dictionaries(ANY_TEXT, ANY_TEXT | st.lists(ANY_TEXT, max_size=3), max_size=3))
def test_data_read_back_and_hold_no_mark_of_a_chat_template(fields: dict[str, object]) -> None:
    told = as_data(fields)
    assert json.loads(told) == fields
    assert not {"<", ">", "\n"} & set(told)


@settings(deadline=None)
@given(ANY_TEXT)
def test_a_text_does_not_hold_the_delimiter_around_it(text: str) -> None:
    assert delimiter({"title": text}) not in as_data({"title": text})
    assert delimiter({"title": text}) == delimiter({"title": text})
    known = delimiter({"title": text})
    assert delimiter({"title": text + known}) != known
