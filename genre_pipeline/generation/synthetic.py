"""Synthetic items: what a user with hardly any history would plausibly like, snapped to real items of the catalogue.

A model invents; the catalogue decides. An invented item has a title, a description and a category; its vector is
compared with those of real items, and the nearest one above a similarity, new to the user, joins their history at a
lower weight. What is near nothing is kept in the table without an item, and changes nothing. Given a profile, the
profile feeds the invention.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import dataframely as dy
import numpy as np
import polars as pl
from pydantic import Field

from genre_pipeline.contracts.columns import DESCRIPTION, ITEM_ID, TITLE, USER_ID
from genre_pipeline.contracts.names import SYNTHETIC_ITEMS
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.tables import SyntheticItems
from genre_pipeline.generation.hostile import plain
from genre_pipeline.generation.profiles import INTERESTS, ITEMS_HAD, PROFILE
from genre_pipeline.generation.replies import first_lines, json_object
from genre_pipeline.generation.requests import Answer, ParseProblem, Request, Value
from genre_pipeline.generation.scheme import Resolved, Scheme
from genre_pipeline.generation.validation import TextRule, problem_of

CATEGORY, PLACE, SIMILARITY = "category", "place", "similarity"
_KEYS = (TITLE, DESCRIPTION, CATEGORY)
_WORD = re.compile(r"[^\W\d_]{3,}")
_MOST_LINES = 10
_ROWS_AT_ONCE = 2**24
"""Similarities held at once: 64 MiB of float32."""


class SyntheticConfig(Settings):
    """Who gets synthetic items, how many, and what becomes of them."""

    min_items: int = Field(default=1, ge=1)
    """Users with fewer distinct items get none."""
    max_items: int = Field(default=5, ge=1)
    """Users with more distinct items have a history of their own."""
    count: int = Field(default=3, ge=1, le=10)
    """Items invented for a user."""
    max_title_characters: int = Field(default=120, ge=1)
    """A longer title is cut where it is told, and not taken where it is invented."""
    max_description_characters: int = Field(default=240, ge=0)
    """A longer description is not taken."""
    min_similarity: float = Field(default=0.4, ge=-1, le=1)
    """Cosine below which an invented item is near no real one."""
    weight: float = Field(default=0.3, gt=0, le=1)
    """What a synthetic item counts in its user's history, where a real one counts 1."""


class Synthetic(Scheme):
    """Makes requests for users with short histories, and the table `SyntheticItems` of what came of them."""

    name: ClassVar[str] = SYNTHETIC_ITEMS
    is_personal: ClassVar[bool] = True
    config: SyntheticConfig

    def requests(self, histories: pl.DataFrame, profiles: pl.DataFrame | None = None) -> list[Request]:
        """One request a row of `told_histories` with few items; `profiles` (schema `UserProfiles`) feed them."""
        few = histories.filter(pl.col(ITEMS_HAD).is_between(self.config.min_items, self.config.max_items))
        if profiles is None:
            told = few.with_columns(pl.lit("").alias(PROFILE))
        else:
            told = few.join(profiles.select(USER_ID, PROFILE), on=USER_ID, how="left", maintain_order="left")
        return [self._request(row) for row in told.iter_rows(named=True)]

    def parse(self, request: Request, reply: str) -> Value | ParseProblem:
        """{"items": [{"title", "description", "category"}]}: new to the history, each once, at least one.

        A category outside the user's interests becomes empty.
        """
        read = self._read_json(reply) if self.style == "json" else self._read_lines(reply)
        if isinstance(read, ParseProblem):
            return read
        known = {item[TITLE].lower() for item in request.fields["history"]}
        fresh = {item[TITLE].lower(): item for item in reversed(read) if item[TITLE].lower() not in known}
        if not fresh:
            return ParseProblem("nothing_new", "Every item is one that the user has had.")
        problems = [self._problem(item, request) for item in fresh.values()]
        kept = [item for item, problem in zip(fresh.values(), problems, strict=True) if problem is None]
        if not kept:
            return next(problem for problem in problems if problem is not None)
        return {"items": [self._in_vocabulary(item, request) for item in reversed(kept)][: self.config.count]}

    def fallback(self, request: Request) -> Value:
        """The user's own newest items again: their nearest neighbours are what will be found."""
        newest = request.fields["history"][: self.config.count]
        return {"items": [_invented(item[TITLE], "", next(iter(item[INTERESTS]), "")) for item in newest]}

    def invented(self, answers: Sequence[Answer]) -> pl.DataFrame:
        """One row an invented item: user_id, place (from 1), title, description, category, source, reason,
        prompt_version.
        """
        rows = [row for resolved in self.resolve(answers) for row in _rows(resolved, self._version)]
        columns = (USER_ID, PLACE, *_KEYS, "source", "reason", "prompt_version")
        schema = {name: pl.UInt32 if name == PLACE else pl.String for name in columns}
        return pl.DataFrame(rows, schema=schema)

    def snapped(
        self,
        invented: pl.DataFrame,
        vectors: np.ndarray,
        *,
        item_ids: pl.Series,
        item_vectors: np.ndarray,
        is_candidate: np.ndarray,
        had: pl.DataFrame,
    ) -> dy.DataFrame[SyntheticItems]:
        """`invented` with the nearest real item of each, schema `SyntheticItems`.

        `vectors` float32 [invented, width] and `item_vectors` [items, width] have rows of length 1, or all zero.
        `is_candidate`, bool [items], says what may be found; `had` (user_id, item_id) what is not new to a user. An
        item found twice for a user goes to the one that is nearer, or earlier.
        """
        best, similarity = _nearest(vectors, item_vectors, is_candidate, _had_cells(invented, item_ids, had))
        is_near = similarity >= self.config.min_similarity
        found = invented.with_columns(
            item_ids.gather(np.where(is_near, best, 0)).alias(ITEM_ID), pl.Series(SIMILARITY, similarity)
        ).with_columns(pl.when(pl.Series(is_near)).then(ITEM_ID).alias(ITEM_ID))
        nearest_first = pl.struct(-pl.col(SIMILARITY), PLACE).rank("ordinal").over(USER_ID, ITEM_ID) == 1
        once = pl.when(nearest_first).then(ITEM_ID).alias(ITEM_ID)
        return SyntheticItems.validate(found.with_columns(once).select(SyntheticItems.column_names()), cast=True)

    def _request(self, row: Mapping[str, Any]) -> Request:
        limit = self.config.max_title_characters
        history = [
            {TITLE: plain(title, limit), INTERESTS: interests}
            for title, interests in zip(row["titles"], row[INTERESTS], strict=True)
        ]
        fields = {"history": history, PROFILE: row[PROFILE] or "", "count": self.config.count}
        return self._asked(row[USER_ID], fields, schema=_schema(self.config))

    def _read_json(self, reply: str) -> list[dict[str, str]] | ParseProblem:
        found = json_object(reply, ("items",))
        if isinstance(found, ParseProblem):
            return found
        items = found["items"]
        if not isinstance(items, list) or not items or not all(_is_item(item) for item in items):
            return ParseProblem("wrong_types", "`items` must be a list of objects with title, description, category.")
        return [_invented(item[TITLE], item[DESCRIPTION], item[CATEGORY]) for item in items]

    def _read_lines(self, reply: str) -> list[dict[str, str]] | ParseProblem:
        """A title a line."""
        lines = first_lines(reply, _MOST_LINES)
        return lines if isinstance(lines, ParseProblem) else [_invented(line.strip("\"'"), "", "") for line in lines]

    def _problem(self, item: Mapping[str, str], request: Request) -> ParseProblem | None:
        config, own = self.config, " ".join(one[TITLE] for one in request.fields["history"])
        texts = ((item[TITLE], config.max_title_characters), (item[DESCRIPTION], config.max_description_characters))
        # A year is part of many a title: what an invented one says of itself is not held against it.
        checked = (problem_of(text, f"{own} {text}", TextRule(limit)) for text, limit in texts if text)
        has_words = _WORD.search(item[TITLE])
        return next(filter(None, checked), None) if has_words else ParseProblem("empty", "An item has no title.")

    def _in_vocabulary(self, item: Mapping[str, str], request: Request) -> dict[str, str]:
        known = {name for one in request.fields["history"] for name in one[INTERESTS]}
        category = item[CATEGORY].lower()
        return {**item, CATEGORY: category if category in known else ""}


def training_weights(synthetic: pl.DataFrame, config: SyntheticConfig) -> pl.DataFrame:
    """user_id, item_id, weight (Float32) of the synthetic items that are near a real one: what histories gain."""
    found = synthetic.drop_nulls(ITEM_ID).select(USER_ID, ITEM_ID)
    return found.with_columns(pl.lit(config.weight, dtype=pl.Float32).alias("weight"))


def texts_of(invented: pl.DataFrame) -> pl.Series:
    """String [invented]: title, category and description joined, as an item's text is."""
    parts = [pl.when(pl.col(name) != "").then(pl.col(name)) for name in (TITLE, CATEGORY, DESCRIPTION)]
    return invented.select(pl.concat_str(parts, separator=". ", ignore_nulls=True).alias("text"))["text"]


def _nearest(
    vectors: np.ndarray, item_vectors: np.ndarray, is_candidate: np.ndarray, had: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Positions int64 [invented] and cosines float32 [invented] of the nearest usable items, in blocks."""
    usable = is_candidate & item_vectors.any(axis=1)
    best = np.zeros(len(vectors), dtype=np.int64)
    similarity = np.full(len(vectors), -1.0, dtype=np.float32)
    block = max(1, _ROWS_AT_ONCE // max(len(item_vectors), 1))
    for start in range(0, len(vectors), block):
        scores = vectors[start : start + block] @ item_vectors.T
        scores[:, ~usable] = -np.inf
        mine = (had[0] >= start) & (had[0] < start + len(scores))
        scores[had[0][mine] - start, had[1][mine]] = -np.inf
        best[start : start + block] = scores.argmax(axis=1)
        similarity[start : start + block] = np.maximum(scores.max(axis=1), -1.0)
    return best, similarity


def _had_cells(invented: pl.DataFrame, item_ids: pl.Series, had: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Cells (row of `invented`, item position) that are not new to the row's user."""
    positions = pl.DataFrame({ITEM_ID: item_ids}).with_row_index("item")
    rows = invented.with_row_index("row").select("row", USER_ID)
    cells = rows.join(had.select(USER_ID, ITEM_ID).unique(), on=USER_ID).join(positions, on=ITEM_ID)
    return cells["row"].to_numpy().astype(np.int64), cells["item"].to_numpy().astype(np.int64)


def _rows(resolved: Resolved, version: str) -> list[dict[str, Any]]:
    whence = {"source": resolved.source, "reason": resolved.reason, "prompt_version": version}
    items = enumerate(resolved.value["items"], start=1)
    return [{USER_ID: resolved.subject, PLACE: place, **item, **whence} for place, item in items]


def _is_item(item: Any) -> bool:
    return isinstance(item, dict) and set(item) == set(_KEYS) and all(isinstance(item[key], str) for key in _KEYS)


def _invented(title: str, description: str, category: str) -> dict[str, str]:
    pairs = zip(_KEYS, (title, description, category), strict=True)
    return {name: plain(text, len(text)) for name, text in pairs}


def _schema(config: SyntheticConfig) -> dict[str, Any]:
    item = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in _KEYS},
        "required": list(_KEYS),
        "additionalProperties": False,
    }
    items = {"type": "array", "items": item, "minItems": 1, "maxItems": config.count}
    return {"type": "object", "properties": {"items": items}, "required": ["items"], "additionalProperties": False}
