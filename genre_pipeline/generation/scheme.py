"""What all schemes have in common: requests go out, replies are parsed, and every subject gets a value.

A scheme never calls a model. It makes `Request`s, reads replies (`parse`), and has a deterministic value for everybody
whose reply cannot be had or used (`fallback`).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from genre_pipeline.contracts.columns import TITLE
from genre_pipeline.contracts.language_model import Prompt
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.generation.hostile import as_data, as_lines, delimiter
from genre_pipeline.generation.requests import Answer, Origin, ParseProblem, Request, Value, canonical_json
from genre_pipeline.generation.templates import SchemeTemplates, Style, Templates


@dataclass(frozen=True)
class Resolved:
    """A subject's final value, and where it comes from."""

    subject: str
    input: Value
    value: Value
    source: Origin
    reason: str
    """Why it fell back; empty where it did not."""


class Scheme(ABC):
    """Asks, parses and falls back for one kind of request."""

    name: ClassVar[str]
    """`Request.scheme`: the asset that it makes, or `written_reasons`; its prompts are the templates' of this name."""
    is_personal: ClassVar[bool]
    """Whether its subjects are users, with whom the replies are forgotten."""
    config: Settings

    def __init__(self, config: Settings, templates: Templates, style: Style) -> None:
        self.config, self.style = config, style
        self._version = f"{templates.version}-{style}"
        of_scheme: SchemeTemplates = getattr(templates, self.name)
        self._template = of_scheme.of(style)

    @abstractmethod
    def parse(self, request: Request, reply: str) -> Value | ParseProblem:
        """What a reply says, or the first thing that is wrong with it. `request` is the first one, not the repair."""

    @abstractmethod
    def fallback(self, request: Request) -> Value:
        """The value of a subject without a usable reply: from the request's input alone, the same every time."""

    def resolve(self, answers: Sequence[Answer]) -> list[Resolved]:
        """A value for every answer, in their order."""
        return [self._resolved(answer) for answer in answers]

    def without_model(self, requests: Sequence[Request], reason: str = "no model") -> list[Answer]:
        """Answers that all fall back: the night without a language model."""
        return [Answer(request, None, "fallback", reason) for request in requests]

    def _resolved(self, answer: Answer) -> Resolved:
        request = answer.request
        value = self.fallback(request) if answer.value is None else answer.value
        source: Origin = "fallback" if answer.value is None else answer.origin
        return Resolved(request.subject, request.fields, value, source, answer.reason)

    def _asked(
        self, subject: str, fields: Value, *, schema: Mapping[str, Any], shown: Mapping[str, str] | None = None
    ) -> Request:
        """A request whose prompt shows `fields` as JSON in the template's words; `schema` holds in the style `json`.

        `shown` replaces single fields' words. `titles` is the history as lines, the newest last.
        """
        template = self._template
        words = {name: as_data(value) for name, value in {"data": fields, **fields, **(shown or {})}.items()}
        words["delimiter"] = delimiter(fields)
        words["titles"] = as_lines([item[TITLE] for item in reversed(fields.get("history", ()))])
        prompt = Prompt(
            system=template.system.strip(),
            user=template.filled(words),
            schema=schema if self.style == "json" else None,
            max_tokens=template.max_tokens,
            stop=template.stop,
            is_chat=template.is_chat,
        )
        return Request(self.name, subject, self.is_personal, self._version, canonical_json(fields), prompt)
