"""What a generated text must be before anybody reads it: short, of its item's language, about its item, and plain.

Each rule gives a `ParseProblem` whose sentence goes into the repair prompt. The rules judge a text by the texts that it
was made of; they never look at another item or user.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from genre_pipeline.generation.hostile import plain
from genre_pipeline.generation.language import is_other_language
from genre_pipeline.generation.requests import ParseProblem

_LINK = re.compile(
    r"(?i)\b[a-z][a-z0-9+.-]{1,15}://|\bwww\.|\b[\w-]+\.(?:com|net|org|io|ru|cn|info|biz|xyz)\b|\S@\S+\.\w"
)
_MARKUP = re.compile(r"</?[A-Za-z!][^<>]*>|<\||\|>|&#?\w+;|```|\[/?INST\]|[{}]")
_REFUSAL = re.compile(r"(?i)\b(?:as an ai|language model|i(?:'m| am) (?:sorry|unable|not able)|i can(?:no|')t)\b")
_CHATTER = re.compile(r"(?i)^\W*(?:sure|certainly|of course|here(?:'s| is| are)|okay|the following|output|answer)\b")
_INSTRUCTION = re.compile(
    r"(?i)\b(?:ignore|disregard|forget|override)\b[^.]{0,40}\b(?:instruction|prompt|rule|above|previous|everything)"
    r"|\b(?:system|developer|assistant)\s*(?:prompt|message|:)|\brank\b[^.]{0,20}\b(?:first|top|highest|number one|#1)"
    r"|\brecommend\b[^.]{0,30}\b(?:to (?:all|every)|everyone|everybody)"
)
_CODE = re.compile(r"\b(?=\w*\d)\w{5,}\b|\b\d{4}\b")
"""A word of five or more characters with a digit in it, or a year: an id, an article number, an edition."""
_WORD = re.compile(r"[^\W\d_]{4,}")
_STEM = 5
_FEW_WORDS = 8
"""Shorter texts may say a word twice."""


@dataclass(frozen=True)
class TextRule:
    """What one generated text may be."""

    max_characters: int
    min_grounding: float = 0.0
    """Least share of its longer words that its sources know, by their first five letters."""


def problem_of(text: str, source: str, rule: TextRule) -> ParseProblem | None:
    """The first rule that a generated text breaks; None for a text that may be kept.

    `source` is all text that the model was given about the subject, and nothing else.
    """
    return next(filter(None, (check(text, source, rule) for check in _CHECKS)), None)


def grounding(text: str, source: str) -> float:
    """Share of the words of four letters or more in `text` that `source` knows, by first five letters; 1 for none."""
    words = [word.lower()[:_STEM] for word in _WORD.findall(text)]
    known = {word.lower()[:_STEM] for word in _WORD.findall(source)}
    return sum(word in known for word in words) / len(words) if words else 1.0


def invented_codes(text: str, source: str) -> Iterator[str]:
    """Words that look like ids, article numbers or years, and that the source does not have."""
    known = set(_CODE.findall(source))
    return (code for code in _CODE.findall(text) if code not in known)


def _empty(text: str, source: str, rule: TextRule) -> ParseProblem | None:
    return None if text.strip() else ParseProblem("empty", "It is empty.")


def _too_long(text: str, source: str, rule: TextRule) -> ParseProblem | None:
    if len(text) <= rule.max_characters:
        return None
    return ParseProblem("too_long", f"It is longer than {rule.max_characters} characters.")


def _unseen(text: str, source: str, rule: TextRule) -> ParseProblem | None:
    same = plain(text, len(text)) == text
    return None if same else ParseProblem("not_plain", "It has invisible characters, line breaks or double blanks.")


def _link(text: str, source: str, rule: TextRule) -> ParseProblem | None:
    return ParseProblem("link", "It has a link or an address.") if _LINK.search(text) else None


def _markup(text: str, source: str, rule: TextRule) -> ParseProblem | None:
    return ParseProblem("markup", "It has markup or brackets; write plain text.") if _MARKUP.search(text) else None


def _prose(text: str, source: str, rule: TextRule) -> ParseProblem | None:
    if _REFUSAL.search(text):
        return ParseProblem("refusal", "It speaks of you instead of the data.")
    if _CHATTER.search(text):
        return ParseProblem("chatter", "It begins with talk; write the text alone.")
    return None


def _instruction(text: str, source: str, rule: TextRule) -> ParseProblem | None:
    found = _INSTRUCTION.search(text)
    return ParseProblem("instruction", "It gives instructions instead of describing.") if found else None


def _repetitive(text: str, source: str, rule: TextRule) -> ParseProblem | None:
    words = text.lower().split()
    if len(words) < _FEW_WORDS or 2 * len(set(words)) >= len(words):
        return None
    return ParseProblem("repetitive", "It says the same words again and again.")


def _other_language(text: str, source: str, rule: TextRule) -> ParseProblem | None:
    other = is_other_language(text, source)
    return ParseProblem("other_language", "It is not in the language of the data.") if other else None


def _invented(text: str, source: str, rule: TextRule) -> ParseProblem | None:
    code = next(invented_codes(text, source), None)
    return (
        None if code is None else ParseProblem("invented_code", "It has a number or an id that the data do not have.")
    )


def _ungrounded(text: str, source: str, rule: TextRule) -> ParseProblem | None:
    if grounding(text, source) >= rule.min_grounding:
        return None
    return ParseProblem("not_about_the_data", "It says too little of what the data say; use their words.")


_CHECKS: tuple[Callable[[str, str, TextRule], ParseProblem | None], ...] = (
    _empty, _too_long, _unseen, _link, _markup, _prose, _instruction, _repetitive, _other_language, _invented,
    _ungrounded,
)  # fmt: skip
