"""A published list as it is stored, straight to bytes: the short way of the request that is made most.

What belongs here: the list of a user who asks for nothing but the list, by rules that leave its order alone. What does
not: every other case, which is `ladder`'s. Both ways give the same answer, and a test holds them to it.
"""

from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import orjson

from genre_pipeline.adapters.table_records import PublishedRow
from genre_pipeline.recommenders.rules import ItemRules
from genre_pipeline.serving.choosing import POPULAR_REASON
from genre_pipeline.serving.published import PublishedRun
from genre_pipeline.serving.scorer import PublishedList

_NAMES = frozenset({"strategy", "k", "surface"})
_DIGITS = 6
_NO_POSITIONS = np.zeros(0, dtype=np.int64)


@lru_cache(256)
def plain_wishes(query: bytes) -> Mapping[str, str] | None:
    """The query of a request that wants a list and nothing more of it, each name once; None for any other."""
    if not query:
        return {}
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="utf-8", errors="replace")
    wishes = dict(pairs)
    is_plain = len(wishes) == len(pairs) and wishes.keys() <= _NAMES and _is_count(wishes.get("k", "1"))
    return wishes if is_plain else None


def stored_lines(
    run: PublishedRun, row: PublishedRow, rules: ItemRules, had: set[int], *, k: int, wanted: int
) -> list[dict[str, Any]] | None:
    """The first `k` lines of the list without what the user `had` or what may not be shown; None where fewer are left,
    or where more than that decides, such as the order of equal scores.

    Of the list as published the first `wanted` count, as they do for every strategy.
    """
    if row.run_id != run.run_id or not rules.changes_nothing or run.prerequisites is not None:
        return None
    at = [run.positions[item] for item in row.item_ids[:wanted] if item in run.positions]
    if not k <= len(at) == len(row.item_ids[:wanted]):
        return None
    scores = PublishedList(_NO_POSITIONS, np.array(row.scores[:wanted], dtype=np.float32)).scaled.tolist()
    shown = run.is_candidate if rules.rules.filters.available_only else run.exists
    is_allowed = (rules.is_allowed & shown).tobytes()  # a byte an item, which Python reads faster than an array
    places = [place for place, item in enumerate(at) if item not in had and is_allowed[item]][:k]
    if len(places) < k or any(scores[one] <= scores[other] for one, other in pairwise(places)):
        return None
    return [_line(run, at[n], rank, scores[n], row.reasons[n]) for rank, n in enumerate(places, start=1)]


def as_bytes(user_id: str, lines: list[dict[str, Any]], provenance: Mapping[str, Any]) -> bytes:
    """The JSON of a `RecommendationsAnswer`."""
    answer = {**provenance, "user_id": user_id, "recommendations": lines}
    return orjson.dumps(answer, option=orjson.OPT_UTC_Z)


def _line(run: PublishedRun, at: int, rank: int, score: float, reasons: list[str]) -> dict[str, Any]:
    return {
        "item_id": run.item_ids[at],
        "title": run.titles[at],
        "rank": rank,
        "score": score,
        "reasons": reasons or [POPULAR_REASON],
        "parts": {"published": score, "vector": 0.0, "popularity": 0.0, "freshness": 0.0},
    }


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS
