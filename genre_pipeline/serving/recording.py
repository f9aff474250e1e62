"""What users do, on its way in: to the event log, which is on disk before anything is said, then to the fresh features.

One thread calls `refresh` and `forget` (the event loop), so that a user's features are read, merged and written without
another event in between; `log` and `erase` run in another, in the order in which requests came.
"""

import logging
from collections.abc import Mapping, Sequence

import polars as pl

from genre_pipeline.contracts.columns import EVENT, EVENT_ID, EVENT_TIMESTAMP, ITEM_ID, TIMESTAMP, USER_ID
from genre_pipeline.contracts.errors import GenreError
from genre_pipeline.contracts.names import IMPRESSION, USER_HISTORIES, USER_STATISTICS, USER_VECTORS
from genre_pipeline.contracts.tables import EVENT_LOG_SCHEMA
from genre_pipeline.features.histories import HistoryConfig
from genre_pipeline.serving.answers import Event, EventsAnswer, ForgottenAnswer
from genre_pipeline.serving.doors import Clock, FeaturesDoor, TablesDoor
from genre_pipeline.serving.following import HeldRun
from genre_pipeline.serving.freshness import refreshed_features
from genre_pipeline.serving.limits import checked_events
from genre_pipeline.serving.settings import ServingConfig

_log = logging.getLogger(__name__)
NOT_REFRESHED = "not_refreshed: the events are on disk, the next answer may not reflect them"
REMAINS = [
    "partitions: interactions and features of past days, until they are materialised again without the user",
    "models: what was learned from the user, until they are trained again",
    "reports: pages of past days, where a user may be an example, until they are deleted or made again",
]
_USER_VIEWS = (USER_HISTORIES, USER_STATISTICS, USER_VECTORS)
_MAX_PENDING = 10_000


class Recorder:
    """Logs events and keeps users' online features up with them."""

    def __init__(
        self,
        tables: TablesDoor,
        features: FeaturesDoor,
        held: Sequence[HeldRun],
        clock: Clock,
        config: ServingConfig,
        *,
        histories: HistoryConfig,
        has_clock: bool,
    ) -> None:
        self._tables, self._features, self._held, self._clock = tables, features, held, clock
        self._config, self._histories, self._has_clock = config, histories, has_clock
        self._pending = pl.DataFrame(schema=EVENT_LOG_SCHEMA)

    def log(self, events: list[Event]) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Write a batch to the event log; give the whole batch and the rows that were new. Raises RequestError."""
        batch = checked_events(events, self._clock(), self._config)
        return batch, self._tables.append_new_events(batch)

    def refresh(self, batch: pl.DataFrame, new: pl.DataFrame) -> EventsAnswer:
        """Merge logged events into the users' online features, so that the next answer reflects them.

        Where the online store does not answer, or nothing is published yet, the events wait in memory for the next
        call (the latest 10,000 of them); they are on disk anyway, for the night to fold in. An impression is nothing
        that the user did, and moves no feature.
        """
        done = new.filter(pl.col(EVENT) != IMPRESSION)
        for held in self._held:
            held.note(done)
        self._pending = pl.concat([self._pending, done.select(self._pending.columns)]).tail(_MAX_PENDING)
        known = self._held[0].run.positions if self._held[0].has_run else {}
        items = batch[ITEM_ID].unique(maintain_order=True).to_list()
        return EventsAnswer(
            accepted=len(new),
            duplicates=len(batch) - len(new),
            unknown_items=[item for item in items if item not in known],
            degraded=self._push_pending(),
        )

    def catch_up(self) -> None:
        """Merge what was logged since the run: a process that was killed may have logged more than it merged.

        Merging an event again changes nothing.
        """
        try:
            logged = self._tables.events_since(self._held[0].run.as_of)
        except GenreError as error:
            _log.warning("the event log cannot be read: %s", type(error).__name__)
            return
        rows = logged.with_columns(pl.lit("").alias(EVENT_ID)).select(self._pending.columns)
        self._pending = rows.tail(_MAX_PENDING)
        self._push_pending()

    def erase(self, user_id: str) -> Mapping[str, int]:
        """Delete a user's rows in the tables; how many, by table. Raises TablesError."""
        return self._tables.delete_user(user_id)

    def forget(self, user_id: str, erased: Mapping[str, int]) -> ForgottenAnswer:
        """After `erase`, delete the user's online features and what is held in memory. Raises FeatureStoreError.

        Events that were logged before the rows were erased are merged by then, so that none of them comes back.
        """
        self._pending = self._pending.filter(pl.col(USER_ID) != user_id)
        for held in self._held:
            held.forget(user_id)
        online = self._features.delete_online(_USER_VIEWS, user_id)
        return ForgottenAnswer(deleted={**erased, "online_features": online}, remains=REMAINS)

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

    def _push_pending(self) -> list[str]:
        if self._pending.is_empty():
            return []
        try:
            for view, frame in self._refreshed(self._pending).items():
                self._features.write_online(view, frame)
        except GenreError as error:
            _log.warning("features are not refreshed: %s", type(error).__name__)
            return [NOT_REFRESHED]
        self._pending = self._pending.clear()
        return []

    def _refreshed(self, events: pl.DataFrame) -> Mapping[str, pl.DataFrame]:
        user_ids = events[USER_ID].unique().sort().to_list()
        return refreshed_features(
            self._held[0].run,
            events,
            self._features.online(USER_HISTORIES, user_ids).drop_nulls(EVENT_TIMESTAMP),
            self._features.online(USER_STATISTICS, user_ids).drop_nulls(EVENT_TIMESTAMP),
            config=self._histories,
            has_clock=self._has_clock,
        )
