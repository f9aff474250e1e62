"""What is asked of a language model, and what came of it: the words that schemes and the calling driver share.

A scheme makes `Request`s; the driver gets an `Answer` for each, from the ledger or from the model, with one repair
attempt where the scheme's `Parse` finds a fault. Nothing here calls anything.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from genre_pipeline.contracts.language_model import Prompt

Value = Mapping[str, Any]
"""What a scheme reads out of a reply: JSON, so that the ledger can keep it."""
Origin = Literal["model", "repaired", "fallback"]
"""The first reply was usable; the second was, to a prompt that named the first one's fault; neither was, or none came.
The `source` column of what generation makes."""

_SHOWN_REPLY = 1000


@dataclass(frozen=True)
class ParseProblem:
    """Why a reply cannot be used."""

    rule: str
    """The rule it broke, in snake_case: `not_json`, `too_long`, `other_language` …"""
    detail: str
    """One sentence that the model is shown in the repair prompt. It never quotes the item's text."""

    def __str__(self) -> str:
        return f"{self.rule}: {self.detail}"


@dataclass(frozen=True)
class Request:
    """One question about one item or user."""

    scheme: str
    """The scheme's name: that of the asset it makes, or `written_reasons`."""
    subject: str
    """The item or user that it is about."""
    is_personal: bool
    """Whether the subject is a user, with whom the reply is forgotten."""
    prompt_version: str
    """The template's version and the hash of its text: an edited template asks anew."""
    input: str
    """Canonical JSON of everything that the prompt was made from."""
    prompt: Prompt

    @cached_property
    def fields(self) -> dict[str, Any]:
        """What `input` says. For reading only."""
        fields: dict[str, Any] = json.loads(self.input)
        return fields

    @property
    def input_hash(self) -> str:
        """sha256 of `input`, hexadecimal."""
        return hashlib.sha256(self.input.encode()).hexdigest()

    def key(self, model_identity: str) -> str:
        """sha256 over prompt version, model with its parameters, and input: equal questions share a reply."""
        parts = [self.prompt_version, model_identity, self.input, str(self.prompt.max_tokens)]
        return hashlib.sha256(canonical_json(parts).encode()).hexdigest()

    def repair(self, reply: str, problem: ParseProblem) -> "Request":
        """The one second attempt: the same question, the reply, and what was wrong with it. It has a key of its own."""
        shown = json.dumps(reply[:_SHOWN_REPLY], ensure_ascii=False)
        asked = (
            f"{self.prompt.user}\n\nAn earlier answer, as a JSON string, was: {shown}\n"
            f"It cannot be used: {problem.detail}\nAnswer again, and mend that."
        )
        known = canonical_json({"input": self.input, "reply": reply, "problem": str(problem)})
        return replace(self, input=known, prompt=replace(self.prompt, user=asked))


Parse = Callable[[Request, str], Value | ParseProblem]
"""(the first request, a reply's text) to what it says, or why it cannot be used. Called for the repair's reply with the
first request as well."""


@dataclass(frozen=True)
class Answer:
    """What came of a request."""

    request: Request
    value: Value | None
    """None where the scheme's fallback must stand in."""
    origin: Origin
    reason: str = ""
    """Why it fell back: the parse problem or the failure of the call; empty where it did not."""


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no blanks, characters as they are."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
