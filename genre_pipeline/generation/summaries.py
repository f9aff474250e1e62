"""Item summaries: one clear, neutral line and a few tags of an item's title, description and categories.

They become the text columns `summary` and `tags` beside the original, for `features.item_texts.fields` to name. A
summary is made of its own item's text and of nothing else; so are its tags.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import dataframely as dy
import polars as pl
from pydantic import Field

from genre_pipeline.contracts.columns import CATEGORIES, DESCRIPTION, ITEM_ID, TITLE
from genre_pipeline.contracts.names import ITEM_SUMMARIES
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.tables import ItemSummaries
from genre_pipeline.generation.hostile import plain
from genre_pipeline.generation.replies import first_lines, is_texts, json_object
from genre_pipeline.generation.requests import Answer, ParseProblem, Request, Value
from genre_pipeline.generation.scheme import Resolved, Scheme
from genre_pipeline.generation.validation import TextRule, problem_of

SUMMARY, TAGS = "summary", "tags"
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+")


class SummariesConfig(Settings):
    """What an item's summary may be."""

    max_title_characters: int = Field(default=200, ge=1)
    """A longer title is cut before it is shown to the model."""
    max_description_characters: int = Field(default=600, ge=1)
    """A longer description is cut before it is shown to the model."""
    max_characters: int = Field(default=240, ge=20)
    """A longer summary is not taken."""
    min_grounding: float = Field(default=0.4, ge=0, le=1)
    """Share of a summary's longer words that the item's own text must know, compared by their first five letters."""
    max_tags: int = Field(default=5, ge=0)
    """Tags kept of an item."""
    max_tag_characters: int = Field(default=30, ge=1)
    """A longer tag is not taken."""


class Summaries(Scheme):
    """Makes requests for items, and the table `ItemSummaries` of what came of them."""

    name: ClassVar[str] = ITEM_SUMMARIES
    is_personal: ClassVar[bool] = False
    config: SummariesConfig

    def requests(self, items: pl.DataFrame) -> list[Request]:
        """One request an item (schema `Items`) that has any text, in the order of `items`."""
        rows = items.select(ITEM_ID, TITLE, DESCRIPTION, CATEGORIES).iter_rows(named=True)
        told = ((row[ITEM_ID], self._fields(row)) for row in rows)
        schema = _schema(self.config)
        return [self._asked(item_id, one, schema=schema) for item_id, one in told if one[TITLE] or one[DESCRIPTION]]

    def parse(self, request: Request, reply: str) -> Value | ParseProblem:
        """{"summary": str, "tags": [str]}; tags that are not the item's own are left out, not complained of."""
        own = _own_text(request)
        read = self._read_json(reply) if self.style == "json" else self._read_lines(reply)
        if isinstance(read, ParseProblem):
            return read
        summary, tags = plain(read[0], len(read[0])), read[1]
        rule = TextRule(self.config.max_characters, self.config.min_grounding)
        return problem_of(summary, own, rule) or {SUMMARY: summary, TAGS: self._own_tags(tags, request)}

    def fallback(self, request: Request) -> Value:
        """The description's first sentence, else the title, cut; the categories as tags."""
        fields = request.fields
        first = _SENTENCE_END.split(fields[DESCRIPTION] or fields[TITLE])[0]
        return {SUMMARY: first[: self.config.max_characters].strip(), TAGS: self._own_tags([], request)}

    def frame(self, answers: Sequence[Answer]) -> dy.DataFrame[ItemSummaries]:
        """One row an answer, schema `ItemSummaries`."""
        rows = [_row(resolved, self._version) for resolved in self.resolve(answers)]
        return ItemSummaries.validate(pl.DataFrame(rows, schema=ItemSummaries.create_empty().schema))

    def _fields(self, row: Mapping[str, Any]) -> dict[str, Any]:
        config = self.config
        names = (plain(name, config.max_tag_characters) for name in row[CATEGORIES])
        return {
            TITLE: plain(row[TITLE], config.max_title_characters),
            DESCRIPTION: plain(row[DESCRIPTION], config.max_description_characters),
            CATEGORIES: [name for name in names if name][:10],
        }

    def _read_json(self, reply: str) -> tuple[str, list[str]] | ParseProblem:
        found = json_object(reply, (SUMMARY, TAGS))
        if isinstance(found, ParseProblem):
            return found
        if not isinstance(found[SUMMARY], str) or not is_texts(found[TAGS]):
            return ParseProblem("wrong_types", "`summary` must be a string and `tags` a list of strings.")
        return found[SUMMARY], found[TAGS]

    def _read_lines(self, reply: str) -> tuple[str, list[str]] | ParseProblem:
        lines = first_lines(reply, 1)
        return lines if isinstance(lines, ParseProblem) else (lines[0], [])

    def _own_tags(self, tags: Sequence[str], request: Request) -> list[str]:
        """Categories first, then those of `tags` whose words all stand in the item's own text; lower case, once."""
        own = set(re.findall(r"\w+", _own_text(request).lower()))
        short = [plain(tag, self.config.max_tag_characters + 1).lower() for tag in tags]
        kept = [tag for tag in short if _is_of(tag, own) and len(tag) <= self.config.max_tag_characters]
        categories = [name.lower() for name in request.fields[CATEGORIES]]
        return list(dict.fromkeys([*categories, *kept]))[: self.config.max_tags]


def with_summaries(items: pl.DataFrame, summaries: pl.DataFrame) -> pl.DataFrame:
    """`items` with the columns `summary` (String) and `tags` (List(String)), null and empty where there is none."""
    made = summaries.select(ITEM_ID, SUMMARY, TAGS)
    joined = items.drop(SUMMARY, TAGS, strict=False).join(made, on=ITEM_ID, how="left", maintain_order="left")
    return joined.with_columns(pl.coalesce(TAGS, pl.lit([], dtype=pl.List(pl.String))))


def _is_of(tag: str, own: set[str]) -> bool:
    words = re.findall(r"\w+", tag)
    return bool(words) and all(word in own for word in words)


def _row(resolved: Resolved, version: str) -> dict[str, Any]:
    return {
        ITEM_ID: resolved.subject,
        **resolved.value,
        "source": resolved.source,
        "reason": resolved.reason,
        "prompt_version": version,
    }


def _own_text(request: Request) -> str:
    fields = request.fields
    return " ".join([fields[TITLE], fields[DESCRIPTION], *fields[CATEGORIES]])


def _schema(config: SummariesConfig) -> dict[str, Any]:
    tag = {"type": "string", "maxLength": config.max_tag_characters}
    return {
        "type": "object",
        "properties": {
            SUMMARY: {"type": "string", "maxLength": config.max_characters},
            TAGS: {"type": "array", "items": tag, "maxItems": config.max_tags},
        },
        "required": [SUMMARY, TAGS],
        "additionalProperties": False,
    }
