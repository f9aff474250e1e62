"""Reasons in a model's words: one sentence on why an item is in a list, from the reasons that templates gave.

Off by default. The model is told the item's title and description and the template-made reasons, and nothing else of
the user; what it writes is validated as every generated text is, and where it cannot be used, or there is no model, the
templates' reasons stay. It adds a sentence before them; it takes none away.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import polars as pl
from pydantic import Field

from genre_pipeline.contracts.columns import DESCRIPTION, ITEM_ID, RANK, REASONS, TITLE, USER_ID
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.generation.hostile import plain
from genre_pipeline.generation.replies import first_lines, json_object
from genre_pipeline.generation.requests import Answer, ParseProblem, Request, Value
from genre_pipeline.generation.scheme import Scheme
from genre_pipeline.generation.validation import TextRule, problem_of

REASON = "reason"


class WrittenReasonsConfig(Settings):
    """Whether a model writes reasons, and for how much of a list."""

    enabled: bool = False
    """Off leaves the reasons that templates make."""
    places: int = Field(default=3, ge=1)
    """A list's first so many items get a written reason."""
    max_description_characters: int = Field(default=300, ge=0)
    """A longer description is cut before it is shown to the model."""
    max_characters: int = Field(default=160, ge=20)
    """A longer sentence is not taken."""
    min_grounding: float = Field(default=0.4, ge=0, le=1)
    """Share of a sentence's longer words that the item's text or the reasons must know, by their first five letters."""


class WrittenReasons(Scheme):
    """Makes requests for the first places of lists, and puts what came of them before the other reasons."""

    name: ClassVar[str] = "written_reasons"
    is_personal: ClassVar[bool] = True
    config: WrittenReasonsConfig

    def told(self, lists: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
        """What requests are made of, a row each: the listed items of the first places that have a title.

        user_id, item_id, reasons, title, description, of `lists` (user_id, item_id, rank, reasons) and `Items`.
        """
        first = lists.filter(pl.col(RANK) <= self.config.places).select(USER_ID, ITEM_ID, REASONS)
        described = items.select(ITEM_ID, TITLE, DESCRIPTION)
        return first.join(described, on=ITEM_ID, maintain_order="left").drop_nulls(TITLE)

    def requests(self, told: pl.DataFrame) -> list[Request]:
        """One request a row."""
        return [self._request(row) for row in told.iter_rows(named=True)]

    def parse(self, request: Request, reply: str) -> Value | ParseProblem:
        """{"reason": str}."""
        written = self._read_json(reply) if self.style == "json" else self._read_line(reply)
        if isinstance(written, ParseProblem):
            return written
        fields = request.fields
        own = " ".join([fields[TITLE], fields[DESCRIPTION], *fields[REASONS]])
        sentence = plain(written, len(written))
        rule = TextRule(self.config.max_characters, self.config.min_grounding)
        return problem_of(sentence, own, rule) or {REASON: sentence}

    def fallback(self, request: Request) -> Value:
        """Nothing: the templates' reasons stand alone."""
        return {REASON: ""}

    def put_first(self, lists: pl.DataFrame, told: pl.DataFrame, answers: Sequence[Answer]) -> pl.DataFrame:
        """`lists`, with the sentence that was written of a row of `told` before the other reasons of it."""
        sentences = pl.Series(REASON, [one.value[REASON] for one in self.resolve(answers)], dtype=pl.String)
        written = told.select(USER_ID, ITEM_ID).with_columns(sentences).filter(pl.col(REASON) != "")
        joined = lists.join(written, on=[USER_ID, ITEM_ID], how="left", maintain_order="left")
        both = pl.concat_list(REASON, REASONS).list.drop_nulls().alias(REASONS)
        return joined.with_columns(both).drop(REASON)

    def _read_json(self, reply: str) -> str | ParseProblem:
        found = json_object(reply, (REASON,))
        if isinstance(found, ParseProblem):
            return found
        written = found[REASON]
        return written if isinstance(written, str) else ParseProblem("wrong_types", "`reason` must be a string.")

    def _read_line(self, reply: str) -> str | ParseProblem:
        lines = first_lines(reply, 1)
        return lines if isinstance(lines, ParseProblem) else lines[0]

    def _request(self, row: Mapping[str, Any]) -> Request:
        fields = {
            TITLE: plain(row[TITLE], 200),
            DESCRIPTION: plain(row[DESCRIPTION], self.config.max_description_characters),
            REASONS: [plain(reason, 200) for reason in row[REASONS]],
        }
        return self._asked(row[USER_ID], fields, schema=_schema(self.config))


def _schema(config: WrittenReasonsConfig) -> dict[str, Any]:
    sentence = {"type": "string", "maxLength": config.max_characters}
    return {"type": "object", "properties": {REASON: sentence}, "required": [REASON], "additionalProperties": False}
