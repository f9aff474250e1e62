"""The service itself: joins doors, published run and scorer, and decides what to answer when something is missing.

Real-time where fresh features allow it, else the published list, else popular items; each step down is named in
`degraded`. One thread calls `recommend` and `refresh_features` (the event loop), so that a user's features are read,
merged and written without another event in between; `log_events` and `look` may run in others.
"""

import gc
import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from genre_pipeline.adapters.table_records import ItemList
from genre_pipeline.contracts.columns import EVENT, EVENT_TIMESTAMP, ITEM_ID, TIMESTAMP, USER_ID
from genre_pipeline.contracts.errors import GenreError, NotPublishedError, UnknownItemError
from genre_pipeline.contracts.names import USER_HISTORIES, USER_STATISTICS, USER_VECTORS
from genre_pipeline.features.histories import HistoryConfig
from genre_pipeline.serving.answers import (
    Event,
    EventsAnswer,
    ItemsAnswer,
    ListedItem,
    Part,
    ReadyAnswer,
    RecommendationsAnswer,
    RecommendedItem,
    Strategy,
)
from genre_pipeline.serving.doors import Clock, FeaturesDoor, Publication, TablesDoor
from genre_pipeline.serving.following import HeldRun
from genre_pipeline.serving.freshness import refreshed_features
from genre_pipeline.serving.limits import EVENT_LOG_SCHEMA, checked_events, checked_id, checked_k
from genre_pipeline.serving.published import PublishedRun
from genre_pipeline.serving.scorer import PublishedList, Scored, UserState, popular_now, published_now, score_now
from genre_pipeline.serving.settings import ServingConfig
from genre_pipeline.serving.state import TABLES_DOWN, read_published_list, read_user_state

_log = logging.getLogger(__name__)
ALL_SEEN = "all_seen: the user has had every available item; these are repeats"
NOT_REFRESHED = "not_refreshed: the events are on disk, the next answer may not reflect them"
NO_SIMILAR = "no_similar_items: none published for this item; these are popular ones"
NO_POPULAR = "no_popular_items: none published for this category; these are popular overall"
_MAX_PENDING = 10_000


class RecommendationService:
    """Answers from one published run at a time; follows the pointer when asked to."""

    def __init__(
        self,
        config: ServingConfig,
        *,
        tables: TablesDoor,
        features: FeaturesDoor,
        load_run: Callable[[Publication], PublishedRun],
        clock: Clock,
        histories: HistoryConfig | None = None,
        has_clock: bool = True,
    ) -> None:
        self.config = config
        self.held = HeldRun(tables, load_run, clock, timedelta(seconds=config.reload_seconds))
        self._tables = tables
        self._features = features
        self._clock = clock
        self._histories = histories or HistoryConfig()
        self._has_clock = has_clock
        self._pending = pl.DataFrame(schema=EVENT_LOG_SCHEMA)
        self._is_warm = False

    def warm_up(self) -> None:
        """Load what is published, answer once through every door, and take what is loaded out of garbage collection.

        Where nothing is published yet the service starts all the same, says so, and looks again later.
        """
        self.held.look()
        for user_id in self.example_users(1):
            self.recommend(user_id)
        gc.collect()
        gc.freeze()
        self._is_warm = True

    def example_users(self, count: int) -> list[str]:
        """Some users with a past, for a page that needs one to show."""
        return list(self.held.run.seen.rows)[:count] if self.held.has_run else []

    def recommend(self, user_id: str, k: int | None = None) -> RecommendationsAnswer:
        """A user's list, now. Raises RequestError for an unusable id or k, NotPublishedError without a run."""
        user_id = checked_id(USER_ID, user_id, self.config.id_limit_bytes)
        k = checked_k(k, self.config)
        run = self.held.run
        user, degraded = read_user_state(run, user_id, self.held.items_since(user_id), self._features, self.config)
        wanted = max(self.config.candidates_published, k)
        listed, problem = read_published_list(run, user_id, wanted, self._tables)
        degraded += [problem] if problem else []
        strategy, chosen = self._choose(run, user, listed, k)
        if not len(chosen):
            strategy, chosen = "popular", popular_now(run, user.seen[:0], k)
            degraded.append(ALL_SEEN)
        return RecommendationsAnswer(
            user_id=user_id,
            strategy=strategy,
            recommendations=_lines(run, _some(chosen)),
            **self._provenance(run, degraded),
        )

    def similar(self, item_id: str, k: int | None = None) -> ItemsAnswer:
        """Items like one item: the published list, else popular ones. Raises RequestError, UnknownItemError."""
        k = checked_k(k, self.config)
        checked_id(ITEM_ID, item_id, self.config.id_limit_bytes)
        run = self.held.run
        own = run.positions_of([item_id])
        if not len(own):
            raise UnknownItemError(
                "The published catalogue does not have this item",
                remedy="Check the id; an item of today is known after the next night.",
                culprits=[item_id],
            )
        return self._items(run, lambda: self._tables.similar_to(item_id, self.config.k_max), k, NO_SIMILAR, own)

    def popular(self, category: str = "", k: int | None = None) -> ItemsAnswer:
        """The published popular items, overall or of one category; overall where a category has none."""
        k = checked_k(k, self.config)
        if category:
            checked_id("category", category, self.config.id_limit_bytes)
        run = self.held.run
        nothing = run.positions_of([])
        return self._items(run, lambda: self._tables.popular(category, self.config.k_max), k, NO_POPULAR, nothing)

    def log_events(self, events: list[Event]) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Write a batch to the event log; give the whole batch and the rows that were new. Raises RequestError."""
        batch = checked_events(events, self._clock(), self.config)
        return batch, self._tables.append_new_events(batch)

    def refresh_features(self, batch: pl.DataFrame, new: pl.DataFrame) -> EventsAnswer:
        """Merge logged events into the users' online features, so that the next answer reflects them.

        Where the online store does not answer, or nothing is published yet, the events wait in memory for the next
        call (the latest 10,000 of them); they are on disk anyway, for the night to fold in.
        """
        self.held.note(new)
        self._pending = pl.concat([self._pending, new.select(self._pending.columns)]).tail(_MAX_PENDING)
        known = self.held.run.positions if self.held.has_run else {}
        items = batch[ITEM_ID].unique(maintain_order=True).to_list()
        return EventsAnswer(
            accepted=len(new),
            duplicates=len(batch) - len(new),
            unknown_items=[item for item in items if item not in known],
            degraded=self._push_pending(),
        )

    def history(self, user_id: str) -> pl.DataFrame | None:
        """item_id, timestamp (Datetime us UTC), event of a user's latest items, newest first; None where unreadable."""
        try:
            row = self._features.online(USER_HISTORIES, [user_id]).drop_nulls(EVENT_TIMESTAMP)
        except GenreError as error:
            _log.warning("online store: %s", type(error).__name__)
            return None
        pairs = row.select("item_ids", "timestamps", "events").explode("item_ids", "timestamps", "events")
        time = pl.from_epoch("timestamps", "s").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        columns = pl.col("item_ids").alias(ITEM_ID), time.alias(TIMESTAMP), pl.col("events").alias(EVENT)
        return pairs.select(columns).drop_nulls(ITEM_ID).reverse()

    def readiness(self) -> ReadyAnswer:
        """Ask every door once."""
        checks = {
            "warm_up": "ok" if self._is_warm else "not finished",
            "tables": _answer_of(self._tables.current, "nothing published"),
            "online_store": _answer_of(lambda: self._features.online(USER_VECTORS, ["ready"]), "no answer"),
            "item_matrix": _answer_of(lambda: self.held.run, "no run"),
        }
        if self.held.has_run and self.held.run.vectors_problem is not None:
            checks["item_matrix"] = self.held.run.vectors_problem
        return ReadyAnswer(ready=all(check == "ok" for check in checks.values()), checks=checks)

    def _choose(self, run: PublishedRun, user: UserState, listed: PublishedList, k: int) -> tuple[Strategy, Scored]:
        if user.vector is not None:
            return "real-time", score_now(run, user, listed, k, self.config)
        if len(listed):
            return "published", published_now(run, user, listed, k, self.config)
        return "popular", popular_now(run, user.seen, k)

    def _items(
        self, run: PublishedRun, read: Callable[[], ItemList | None], k: int, empty: str, own: np.ndarray
    ) -> ItemsAnswer:
        degraded: list[str] = []
        try:
            table = read()
        except GenreError as error:
            _log.warning("tables: %s", type(error).__name__)
            table = None
            degraded.append(TABLES_DOWN)
        listed = [(run.positions.get(row.item_id), row.score) for row in (table.rows if table is not None else ())]
        found = [(at, score) for at, score in listed if at is not None and run.is_candidate[at]][:k]
        if not found:
            degraded += [] if degraded else [empty]
            chosen = _some(popular_now(run, own, k))
            found = list(zip(chosen.positions.tolist(), chosen.scores.tolist(), strict=True))
        lines = [
            ListedItem(item_id=run.item_ids[at], title=run.titles[at], rank=rank, score=score)
            for rank, (at, score) in enumerate(found, start=1)
        ]
        return ItemsAnswer(items=lines, **self._provenance(run, degraded))

    def _push_pending(self) -> list[str]:
        if self._pending.is_empty():
            return []
        try:
            for view, frame in self._refreshed(self.held.run, self._pending).items():
                self._features.write_online(view, frame)
        except GenreError as error:
            _log.warning("features are not refreshed: %s", type(error).__name__)
            return [NOT_REFRESHED]
        self._pending = self._pending.clear()
        return []

    def _refreshed(self, run: PublishedRun, events: pl.DataFrame) -> Mapping[str, pl.DataFrame]:
        user_ids = events[USER_ID].unique().sort().to_list()
        return refreshed_features(
            run,
            events,
            self._features.online(USER_HISTORIES, user_ids).drop_nulls(EVENT_TIMESTAMP),
            self._features.online(USER_STATISTICS, user_ids).drop_nulls(EVENT_TIMESTAMP),
            config=self._histories,
            has_clock=self._has_clock,
        )

    def _provenance(self, run: PublishedRun, degraded: list[str]) -> dict[str, Any]:
        problem = self.held.problem
        behind = [] if problem is None else [f"run_behind: the newest run cannot be read ({type(problem).__name__})"]
        age = max((self._clock() - run.as_of).total_seconds(), 0.0)
        return {
            "run_id": run.run_id,
            "as_of": run.as_of,
            "age_seconds": round(age, 3),
            "degraded": [*degraded, *behind],
        }


def _some(chosen: Scored) -> Scored:
    if not len(chosen):
        raise NotPublishedError(
            "No item of the published catalogue may be recommended",
            remedy="Check `available` and `published_at` in the items table, then run the nightly job again.",
        )
    return chosen


def _lines(run: PublishedRun, chosen: Scored) -> list[RecommendedItem]:
    columns = (chosen.positions, chosen.scores, chosen.published, chosen.vector, chosen.popularity)
    values = zip(*(column.tolist() for column in columns), chosen.reasons, strict=True)
    return [
        RecommendedItem(
            item_id=run.item_ids[at],
            title=run.titles[at],
            rank=rank,
            score=score,
            reasons=reasons,
            parts=Part(published=published, vector=vector, popularity=popularity),
        )
        for rank, (at, score, published, vector, popularity, reasons) in enumerate(values, start=1)
    ]


def _answer_of(ask: Callable[[], object], empty: str) -> str:
    try:
        return empty if ask() is None else "ok"
    except GenreError as error:
        return type(error).__name__
