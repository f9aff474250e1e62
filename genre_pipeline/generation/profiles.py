"""User profiles: interests from the catalogue's closed vocabulary and one sentence, of a history told newest first.

The model chooses among interests that the user's own items carry, and nothing else: what a poisoned item asks for
cannot become anybody's interest unless an item of their history carries it. One item's share of a profile's weight is
capped by adding the next most frequent interests, and each profile records the items that it was made of.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

import dataframely as dy
import numpy as np
import polars as pl
from pydantic import Field

from genre_pipeline.contracts.columns import EVENT_TIMESTAMP, ITEM_ID, TIMESTAMP, TITLE, USER_ID
from genre_pipeline.contracts.names import USER_PROFILES
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.tables import UserProfiles
from genre_pipeline.generation.hostile import plain
from genre_pipeline.generation.replies import first_lines, is_texts, json_object
from genre_pipeline.generation.requests import Answer, ParseProblem, Request, Value
from genre_pipeline.generation.scheme import Resolved, Scheme
from genre_pipeline.generation.validation import TextRule, problem_of
from genre_pipeline.generation.vocabulary import INTEREST, Vocabulary

INTERESTS, PROFILE, WEIGHTS, SOURCES = "interests", "profile", "weights", "source_item_ids"
ITEMS_HAD = "items_had"
_SEPARATOR = re.compile(r"\s*[,;|]\s*|\s+and\s+")


class ProfilesConfig(Settings):
    """Who gets a profile, and what it may be."""

    min_items: int = Field(default=1, ge=1)
    """Users with fewer distinct items get none."""
    max_items: int | None = Field(default=None, ge=1)
    """Users with more distinct items get none; None asks for everybody."""
    history: int = Field(default=20, ge=1)
    """The newest so many items are told to the model, also where it invents items."""
    max_title_characters: int = Field(default=120, ge=1)
    """A longer title is cut."""
    max_interests: int = Field(default=5, ge=1)
    """Interests that the model may choose."""
    max_characters: int = Field(default=240, ge=20)
    """A longer sentence is not taken."""
    max_item_share: float = Field(default=0.5, gt=0, le=1)
    """Most of a profile's weight that may come from one item, as far as the other items carry any interest."""


class Profiles(Scheme):
    """Makes requests for users, and the table `UserProfiles` of what came of them."""

    name: ClassVar[str] = USER_PROFILES
    is_personal: ClassVar[bool] = True
    config: ProfilesConfig

    def requests(self, histories: pl.DataFrame) -> list[Request]:
        """A request for each user of `told_histories` with as many items as `config` says.

        Titles are told and no ids: a model has no use for them.
        """
        config, had = self.config, pl.col(ITEMS_HAD)
        is_wanted = (
            had >= config.min_items if config.max_items is None else had.is_between(config.min_items, config.max_items)
        )
        return [self._request(row) for row in histories.filter(is_wanted).iter_rows(named=True)]

    def parse(self, request: Request, reply: str) -> Value | ParseProblem:
        """{"interests": [str], "profile": str}: at least one interest that the user's own items carry."""
        read = self._read_json(reply) if self.style == "json" else self._read_lines(reply)
        if isinstance(read, ParseProblem):
            return read
        chosen = self._known(read[0], request)
        if not chosen:
            return ParseProblem("no_interest", "None of the interests is one of the given vocabulary.")
        sentence = plain(read[1], len(read[1])) or sentence_of(chosen)
        rule = TextRule(self.config.max_characters)
        return problem_of(sentence, _own_text(request), rule) or {INTERESTS: chosen, PROFILE: sentence}

    def fallback(self, request: Request) -> Value:
        """The interests that most of the user's items carry, and a sentence that names them."""
        chosen = [name for name, _count in _carried(request).most_common(self.config.max_interests)]
        return {INTERESTS: chosen, PROFILE: sentence_of(chosen)}

    def frame(
        self, answers: Sequence[Answer], histories: pl.DataFrame, *, as_of: datetime
    ) -> dy.DataFrame[UserProfiles]:
        """One row an answer, schema `UserProfiles`; `histories` are those that the requests were made of."""
        sources = dict(zip(histories[USER_ID], histories["item_ids"], strict=True))
        rows = [self._row(resolved, sources[resolved.subject], as_of) for resolved in self.resolve(answers)]
        return UserProfiles.validate(pl.DataFrame(rows, schema=UserProfiles.create_empty().schema))

    def _request(self, row: Mapping[str, Any]) -> Request:
        config = self.config
        history = [
            {TITLE: plain(title, config.max_title_characters), "when": when, INTERESTS: interests}
            for title, when, interests in zip(row["titles"], row["when"], row[INTERESTS], strict=True)
        ]
        ranked = Counter(name for item in history for name in item[INTERESTS])
        vocabulary = [name for name, _count in sorted(ranked.items(), key=lambda pair: (-pair[1], pair[0]))]
        fields = {"history": history, "vocabulary": vocabulary}
        shown = _as_words(history, vocabulary) if self.style == "lines" else {}
        return self._asked(row[USER_ID], fields, schema=_schema(config, vocabulary), shown=shown)

    def _read_json(self, reply: str) -> tuple[list[str], str] | ParseProblem:
        found = json_object(reply, (INTERESTS, PROFILE))
        if isinstance(found, ParseProblem):
            return found
        if not is_texts(found[INTERESTS]) or not isinstance(found[PROFILE], str):
            return ParseProblem("wrong_types", "`interests` must be a list of strings and `profile` a string.")
        return found[INTERESTS], found[PROFILE]

    def _read_lines(self, reply: str) -> tuple[list[str], str] | ParseProblem:
        lines = first_lines(reply, 1)
        return lines if isinstance(lines, ParseProblem) else (_SEPARATOR.split(lines[0].rstrip(".")), "")

    def _known(self, named: Sequence[str], request: Request) -> list[str]:
        """Of what the model named, the interests that the user's items carry, once each, at most as many as wanted."""
        carried = _carried(request)
        plain_names = (plain(name, 100).lower().strip(" .\"'") for name in named)
        return list(dict.fromkeys(name for name in plain_names if name in carried))[: self.config.max_interests]

    def _row(self, resolved: Resolved, sources: Sequence[str], as_of: datetime) -> dict[str, Any]:
        votes = [item[INTERESTS] for item in resolved.input["history"]]
        weights = capped_weights(resolved.value[INTERESTS], votes, self.config.max_item_share)
        return {
            USER_ID: resolved.subject,
            EVENT_TIMESTAMP: as_of,
            INTERESTS: list(weights),
            WEIGHTS: list(weights.values()),
            PROFILE: resolved.value[PROFILE],
            SOURCES: list(sources),
            "source": resolved.source,
            "reason": resolved.reason,
            "prompt_version": self._version,
        }


def told_histories(
    interactions: pl.DataFrame,
    items: pl.DataFrame,
    vocabulary: Vocabulary,
    *,
    newest: int,
    has_clock: bool = True,
) -> pl.DataFrame:
    """What each user's request tells, of a past (`Interactions`) and a catalogue (`Items`).

    user_id, items_had (distinct items, told or not), item_ids, titles, when (YYYY-MM-DD; empty without a clock),
    interests (lists of lists), each the `newest` first, sorted by user.

    Distinct items only, at their latest time; items without a title are left out, and users none of whose items
    carries an interest.
    """
    carried = vocabulary.carried.group_by(ITEM_ID, maintain_order=True).agg(pl.col(INTEREST).alias(INTERESTS))
    described = items.select(ITEM_ID, TITLE).drop_nulls().join(carried, on=ITEM_ID, how="left")
    latest = interactions.sort(TIMESTAMP, maintain_order=True).unique(
        [USER_ID, ITEM_ID], keep="last", maintain_order=True
    )
    had = latest.with_columns(pl.len().over(USER_ID).alias(ITEMS_HAD))
    told = had.join(described, on=ITEM_ID, maintain_order="left").reverse().with_columns(
        # polars panics where `fill_null` is to fill a whole list column.
        pl.coalesce(INTERESTS, pl.lit([], dtype=pl.List(pl.String))),
        pl.col(TIMESTAMP).dt.strftime("%Y-%m-%d" if has_clock else "").alias("when"),
    )  # fmt: skip
    columns = {"item_ids": ITEM_ID, "titles": TITLE, "when": "when", INTERESTS: INTERESTS}
    lists = [pl.col(column).head(newest).alias(name) for name, column in columns.items()]
    grouped = told.group_by(USER_ID, maintain_order=True).agg(pl.col(ITEMS_HAD).first(), *lists).sort(USER_ID)
    return grouped.filter(pl.col(INTERESTS).list.eval(pl.element().list.len()).list.sum() > 0)


def capped_weights(chosen: Sequence[str], votes: Sequence[Sequence[str]], max_share: float) -> dict[str, float]:
    """Interest to its weight; the weights sum to 1. `votes` are each item's interests.

    An item's vote is split among what it carries. Where one item would give more than `max_share` of the weight, the
    next most voted interests join, until it does not, or none is left.
    """
    support = _support(votes)
    rest = sorted(support.keys() - set(chosen), key=lambda name: (-support[name], name))
    names = list(chosen)
    while rest and _largest_share(names, votes) > max_share:
        names.append(rest.pop(0))
    total = sum(support[name] for name in names)
    return {name: support[name] / total for name in names}


def pooled_interests(profiles: pl.DataFrame, interests: pl.Series, vectors: np.ndarray) -> np.ndarray:
    """float32 [profiles, width]: the weighted mean of each profile's interest vectors [interests, width], unscaled.

    An interest that `interests` does not have adds nothing.
    """
    columns = pl.DataFrame({INTEREST: interests}).with_row_index("column")
    cells = profiles.with_row_index("row").select("row", pl.col(INTERESTS).alias(INTEREST), WEIGHTS)
    cells = cells.explode(INTEREST, WEIGHTS).join(columns, on=INTEREST, maintain_order="left")
    pooled = np.zeros((profiles.height, vectors.shape[1]), dtype=np.float32)
    weighted = vectors[cells["column"].to_numpy()] * cells[WEIGHTS].to_numpy()[:, None].astype(np.float32)
    np.add.at(pooled, cells["row"].to_numpy(), weighted)
    return pooled


def sentence_of(interests: Sequence[str]) -> str:
    """A profile in one sentence, from the interests alone."""
    return f"Interested in {', '.join(interests)}."


def _support(votes: Sequence[Sequence[str]]) -> dict[str, float]:
    support: dict[str, float] = {}
    for carried in votes:
        for name in carried:
            support[name] = support.get(name, 0.0) + 1 / len(carried)
    return support


def _largest_share(names: Sequence[str], votes: Sequence[Sequence[str]]) -> float:
    given = [sum(name in names for name in carried) / len(carried) for carried in votes if carried]
    return max(given) / sum(given) if any(given) else 0.0


def _carried(request: Request) -> Counter[str]:
    """How many items carry each interest, in the vocabulary's order."""
    fields = request.fields
    counts = Counter(name for item in fields["history"] for name in item[INTERESTS])
    return Counter({name: counts[name] for name in fields["vocabulary"]})


def _own_text(request: Request) -> str:
    fields = request.fields
    return " ".join([*(item[TITLE] for item in fields["history"]), *fields["vocabulary"]])


def _as_words(history: Sequence[Mapping[str, Any]], vocabulary: Sequence[str]) -> dict[str, str]:
    titles = "; ".join(item[TITLE].replace(";", ",") for item in history)
    return {"history": titles, "vocabulary": ", ".join(vocabulary)}


def _schema(config: ProfilesConfig, vocabulary: Sequence[str]) -> dict[str, Any]:
    interest = {"type": "string", "enum": list(vocabulary)}
    return {
        "type": "object",
        "properties": {
            INTERESTS: {"type": "array", "items": interest, "minItems": 1, "maxItems": config.max_interests},
            PROFILE: {"type": "string", "maxLength": config.max_characters},
        },
        "required": [INTERESTS, PROFILE],
        "additionalProperties": False,
    }
