"""What each page shows, as plain mappings for the templates: tiles, cards, what moved, what is published."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from genre_pipeline.contracts.columns import AUDIO, IMAGE, ITEM_ID
from genre_pipeline.contracts.errors import GenreError, NotPublishedError, RequestError
from genre_pipeline.serving.answers import RecommendationsAnswer, RecommendedItem, SessionEvent, SessionRequest
from genre_pipeline.serving.charts import curves_of
from genre_pipeline.serving.exhibits import TOGETHER, Exhibits
from genre_pipeline.serving.ladder import STRATEGIES
from genre_pipeline.serving.media import MediaFiles
from genre_pipeline.serving.service import RecommendationService

_HUES = 12
_EXAMPLES, _POPULAR, _FOUND, _NEAR = 6, 18, 24, 6
_HISTORY_OF_TASTE = 20
_METRICS = ("ndcg", "recall", "mrr", "coverage", "novelty")
View = dict[str, Any]


@dataclass(frozen=True)
class Views:
    """The pages of one moment."""

    service: RecommendationService
    media: MediaFiles
    exhibits: Exhibits

    def welcome(self) -> View:
        """Users to try, and what is popular."""
        return {"examples": self.service.example_users(_EXAMPLES), "popular": self._popular(), "problem": None}

    def found_users(self, text: str) -> View:
        """Users whose id contains a text, the ones that begin with it first."""
        if not self.service.held.has_run:
            return {"found": [], "more": 0}
        seen = self.service.held.run.seen
        matching = sorted(
            (user for user in seen.rows if text in user), key=lambda user: (not user.startswith(text), len(user), user)
        )
        shown = [{"user_id": user, "count": len(seen.of(user))} for user in matching[:_FOUND]]
        return {"found": shown, "more": len(matching) - len(shown)}

    def user(self, user: str, k: str, before: RecommendationsAnswer | None = None, done: View | None = None) -> View:
        """History and list; with `before`, what moved since that list. Raises RequestError, NotPublishedError."""
        answer = self.service.recommend(user, number(k))
        past = self.service.recorder.history(user)
        shown = [] if past is None else past.head(self.service.config.page_history).to_dicts()
        run = self.service.held.run
        latest = run.positions_of([] if past is None else past.head(_HISTORY_OF_TASTE)[ITEM_ID].to_list())
        moved = moves(before.recommendations, answer.recommendations) if before is not None else {}
        cards = self._cards(answer.recommendations, latest)
        for card in cards:
            card["move"] = moved.get(card["item_id"])
        return {
            "answer": answer, "cards": cards, "history": [self.tile(row[ITEM_ID]) | row for row in shown],
            "history_is_down": past is None, "is_cold": past is not None and past.is_empty(),
            "since": len(self.service.held.items_since(user)), "age": age(answer.age_seconds),
            "taste": self.exhibits.taste, "done": done, "said": _said(moved, done), "gone": self._gone(before, answer),
        }  # fmt: skip

    def session(self, items: Sequence[str], k: str, title: str) -> View:
        """The list of a session that only the address knows of; items to add by title or from what is popular."""
        run = self.service.held.run
        chosen = [self.tile(item) for item in items if item in run.positions]
        found = [self.tile(run.item_ids[at]) for at in self._titled(title)] if title else []
        view: View = {"chosen": chosen, "found": found, "title": title, "answer": None, "cards": [], "popular": []}
        if not chosen:
            return view | {"popular": self._popular()}
        events = [SessionEvent(item_id=tile["item_id"]) for tile in chosen]
        answer = self.service.session(SessionRequest(events=events, k=number(k)))
        latest = run.positions_of([tile["item_id"] for tile in chosen])
        cards = self._cards(answer.recommendations, latest)
        return view | {"answer": answer, "cards": cards, "age": age(answer.age_seconds), "taste": self.exhibits.taste}

    def similar(self, item: str) -> View:
        """Items like one, by each modality. Raises RequestError, UnknownItemError."""
        published = self.service.similar(item, _NEAR)
        run = self.service.held.run
        at, allowed = run.positions[item], run.is_candidate
        rows = [self.tile(line.item_id) | {"cosine": line.score} for line in published.items]
        columns = [{"title": "As published", "rows": rows}]
        for name in self.exhibits.spaces:
            near = self.exhibits.nearest(name, at, allowed, _NEAR)
            rows = [self.tile(run.item_ids[other]) | {"cosine": value} for other, value in near]
            columns.append({"title": f"By {name}" if name != TOGETHER else name.capitalize(), "rows": rows})
        return {"tile": self.tile(item), "columns": columns, "answer": published}

    def variants(self, user: str, k: str, left: str, right: str) -> View:
        """One user's list by two arms. Raises RequestError, NotPublishedError."""
        arms = [*self.service.held.run.rules, *(f"only {name}" for name in STRATEGIES[1:])]
        names = (left or arms[0], right or arms[1])
        answers = [self._by_arm(user, number(k), name, arms) for name in names]
        sides = []
        for name, answer, other in zip(names, answers, reversed(answers), strict=True):
            moved = moves(other.recommendations, answer.recommendations)
            rows = [
                self.tile(line.item_id) | {"line": line, "move": moved[line.item_id]} for line in answer.recommendations
            ]
            sides.append({"name": name, "answer": answer, "rows": rows})
        ids = [{line.item_id for line in answer.recommendations} for answer in answers]
        return {"arms": arms, "sides": sides, "shared": len(ids[0] & ids[1]), "own": self.service.variant_of(user)}

    def published(self) -> View:
        """What is live where, the evaluation that let it through, and the curves of its trainings."""
        found = self.exhibits
        return {
            "surfaces": [self._surface(name) for name in self.service.surfaces],
            "scores": _scores(found.evaluation), "metrics": _shown_metrics(found.evaluation),
            "curves": {name.replace("_", " "): curves_of(frame) for name, frame in found.curves.items()},
            "weights": found.weights, "taste": found.taste, "absent": found.absent,
        }  # fmt: skip

    def tile(self, item_id: str) -> View:
        """An item as every page shows it."""
        run = self.service.held.run
        at = run.positions.get(item_id)
        title = run.titles[at] if at is not None else item_id
        letters = [word[0] for word in title.split() if word[0].isalnum()]
        return {
            "item_id": item_id, "title": title, "is_known": at is not None,
            "initials": "".join(letters[:2]).upper() or "·",
            "hue": int(hashlib.sha256(item_id.encode("utf-8", "surrogatepass")).hexdigest()[:4], 16) % _HUES,
            "has_image": self.media.file_of(run, IMAGE, item_id) is not None,
            "has_audio": self.media.file_of(run, AUDIO, item_id) is not None,
            "text": self.exhibits.texts.get(item_id), "is_written": item_id in self.exhibits.written,
            "categories": self.exhibits.categories.get(item_id) or [],
        }  # fmt: skip

    def _by_arm(self, user: str, k: int | None, arm: str, arms: Sequence[str]) -> RecommendationsAnswer:
        if arm not in arms:
            raise RequestError("There is no such variant", remedy=f"Choose one of: {', '.join(arms)}.")
        if arm in self.service.held.run.rules:
            return self.service.recommend(user, k, variant=arm)
        return self.service.recommend(user, k, strategy=arm.removeprefix("only "))

    def _surface(self, name: str) -> View:
        held = self.service.surfaces[name]
        try:
            live, record = self.service.publication(name)
        except GenreError as error:
            return {"name": name, "live": None, "record": None, "problem": error.problem, "held": held}
        return {"name": name, "live": live, "record": record, "problem": held.problem, "held": held}

    def _gone(self, before: RecommendationsAnswer | None, answer: RecommendationsAnswer) -> list[View]:
        if before is None:
            return []
        still = {line.item_id for line in answer.recommendations}
        return [
            self.tile(line.item_id) | {"was": line.rank} for line in before.recommendations if line.item_id not in still
        ]

    def _titled(self, text: str) -> list[int]:
        titles, wanted = self.service.held.run.titles, text.casefold()
        return [at for at, title in enumerate(titles) if wanted in title.casefold()][:_FOUND]

    def _popular(self) -> list[View]:
        try:
            listed = self.service.popular("", min(_POPULAR, self.service.config.k_max)).items
        except NotPublishedError:
            return []
        return [self.tile(line.item_id) for line in listed]

    def _cards(self, lines: Sequence[RecommendedItem], history: np.ndarray) -> list[View]:
        run = self.service.held.run
        near = self.exhibits.closeness(run.positions_of([line.item_id for line in lines]), history)
        known = [
            {name: float(values[place]) for name, values in near.items() if np.isfinite(values[place])}
            for place in range(len(lines))
        ]
        return [
            self.tile(line.item_id) | {
                "line": line, "bars": bars(line.parts.model_dump()), "move": None,
                "near": known[place],
            }
            for place, line in enumerate(lines)
        ]  # fmt: skip


def number(k: str) -> int | None:
    """A number that was typed; None where nothing was. Raises RequestError."""
    if not k:
        return None
    if not k.isascii() or not k.isdigit() or len(k) > 6:
        raise RequestError("k is not a number", remedy="Ask for a whole number of items.")
    return int(k)


def bars(parts: Mapping[str, float]) -> list[View]:
    """Segments of a bar 100 wide: what each source gave, where it gave something."""
    found, start = [], 0.0
    for name, value in parts.items():
        width = round(max(min(value, 1.0), 0.0) * 100, 2)
        found.append({"name": name, "start": round(start, 2), "width": width, "value": value})
        start += width
    return found


def moves(before: Sequence[RecommendedItem], after: Sequence[RecommendedItem]) -> dict[str, int | str]:
    """Item to the places it rose (negative where it fell), or "new"."""
    was = {line.item_id: line.rank for line in before}
    return {line.item_id: was[line.item_id] - line.rank if line.item_id in was else "new" for line in after}


def age(seconds: float) -> str:
    """A span of time in its largest unit."""
    for unit, length in (("year", 31_557_600), ("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''} old"
    return "just made"


def _said(moved: Mapping[str, int | str], done: View | None) -> str:
    """What changed, in a sentence that is read out."""
    if done is None:
        return ""
    new = sum(move == "new" for move in moved.values())
    up = sum(isinstance(move, int) and move > 0 for move in moved.values())
    down = sum(isinstance(move, int) and move < 0 for move in moved.values())
    return f"Recorded: {done['event']} of {done['title']}. {new} new, {up} up, {down} down."


def _shown_metrics(evaluation: pl.DataFrame | None) -> list[str]:
    return [] if evaluation is None else [name for name in _METRICS if name in set(evaluation["metric"])]


def _scores(evaluation: pl.DataFrame | None) -> list[View]:
    """A row a recommender, the best by its first metric first."""
    if evaluation is None:
        return []
    first = next(iter(_shown_metrics(evaluation)), "")
    rows: dict[str, View] = {}
    for row in evaluation.to_dicts():
        rows.setdefault(row["recommender"], {})[row["metric"]] = row

    def worth(cells: View) -> float:
        return float(cells[first]["value"]) if first in cells else 0.0

    ranked = sorted(rows.items(), key=lambda pair: -worth(pair[1]))
    return [{"name": name, "cells": cells} for name, cells in ranked]
