"""What the service asks of the outside, as protocols: the published tables, the online store, the clock.

The real classes live in `adapters`; `wiring` joins them. Every door raises the `GenreError` family and nothing else for
what can go wrong outside, which is what lets the service degrade on purpose instead of by accident.
"""

from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Protocol

import polars as pl

from genre_pipeline.adapters.table_records import ItemList, UserRecommendations

Clock = Callable[[], datetime]
"""Now, in UTC. The only source of time in this room."""


class Publication(Protocol):
    """The pointer: which run is live."""

    @property
    def run_id(self) -> str:
        """The live run."""
        ...

    @property
    def as_of(self) -> datetime:
        """Exclusive end of what the run knows; aware, UTC."""
        ...

    @property
    def day(self) -> date:
        """The day whose partitions the run was made of."""
        ...


class TablesDoor(Protocol):
    """The published tables and the event log."""

    def current(self) -> Publication | None:
        """The live run, or None where nothing was ever published."""
        ...

    def recommendations_for(self, user_id: str, k: int, /) -> UserRecommendations | None:
        """A user's published list by rank, at most k rows; None or no rows for a user without one."""
        ...

    def similar_to(self, item_id: str, k: int, /) -> ItemList | None:
        """An item's published neighbours by rank, at most k rows; None or no rows for an item without any."""
        ...

    def popular(self, category: str, k: int, /) -> ItemList | None:
        """Published popular items by rank, at most k rows; `category` "" means overall."""
        ...

    def append_new_events(self, events: pl.DataFrame, /) -> pl.DataFrame:
        """Write event_id, user_id, item_id, timestamp, event, value, durably; return the rows that were new."""
        ...

    def events_since(self, start: datetime, /) -> pl.DataFrame:
        """user_id, item_id, timestamp, event, value of the logged events with a timestamp at or after `start`."""
        ...


class FeaturesDoor(Protocol):
    """The online store. A feature older than the one stored never replaces it."""

    def online(self, view: str, entity_ids: Sequence[str], /) -> pl.DataFrame:
        """One view's rows in its offline schema, one an entity in the order asked; an unknown one has null values."""
        ...

    def write_online(self, view: str, frame: pl.DataFrame, /) -> int:
        """Write rows of one view, where they are not older than what is there; how many were given."""
        ...
