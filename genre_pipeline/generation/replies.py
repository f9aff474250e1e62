"""A reply's form: one JSON object, or plain lines. What it says is the scheme's to judge."""

import json
import re
from collections.abc import Collection
from typing import Any

from genre_pipeline.generation.hostile import plain
from genre_pipeline.generation.requests import ParseProblem

MAX_REPLY_CHARACTERS = 20_000
"""A longer reply is not looked at: no scheme asks for a tenth of it."""
_FENCE = re.compile(r"\A\s*```(?:json)?\s*(.*?)\s*```\s*\Z", re.DOTALL)
_BULLET = re.compile(r"\A\s*(?:\d{1,2}[.)]|[-*•])\s*")


class _RepeatedKeyError(ValueError):
    """JSON would keep the last of two equal keys, and no one would know."""


def json_object(reply: str, keys: Collection[str]) -> dict[str, Any] | ParseProblem:
    """The object of exactly `keys` that a reply is, alone or in a code fence."""
    if len(reply) > MAX_REPLY_CHARACTERS:
        return ParseProblem("too_long", f"It is longer than {MAX_REPLY_CHARACTERS} characters.")
    fenced = _FENCE.match(reply)
    try:
        found = json.loads(fenced[1] if fenced else reply, object_pairs_hook=_once, parse_constant=_refused)
    except (ValueError, RecursionError):
        return ParseProblem("not_json", "It is not one JSON object without repeated keys.")
    if not isinstance(found, dict) or set(found) != set(keys):
        return ParseProblem("wrong_keys", f"It must be a JSON object with exactly the keys {', '.join(sorted(keys))}.")
    return found


def first_lines(reply: str, n: int) -> list[str] | ParseProblem:
    """The first `n` lines that hold something, made plain, without bullets, numbers and enclosing quotes."""
    if len(reply) > MAX_REPLY_CHARACTERS:
        return ParseProblem("too_long", f"It is longer than {MAX_REPLY_CHARACTERS} characters.")
    lines = [_bare(line) for line in reply.splitlines()]
    return [line for line in lines if line][:n] or ParseProblem("empty", "It is empty.")


def is_texts(value: Any) -> bool:
    """Whether a piece of JSON is a list of strings."""
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _bare(line: str) -> str:
    text = _BULLET.sub("", plain(line, len(line)))
    return text[1:-1].strip() if len(text) > 1 and text[0] in "\"“'" and text[-1] in "\"”'" else text


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _RepeatedKeyError
    return found


def _refused(constant: str) -> Any:
    raise ValueError(constant)
