"""What the service asks of the outside, as protocols: the published tables, the online store, the clock.

The real classes live in `adapters`; `wiring` joins them. Every door raises the `GenreError` family and nothing else for
what can go wrong outside, which is what lets the service degrade on purpose instead of by accident.
"""

from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Protocol

import numpy as np
import polars as pl

from genre_pipeline.adapters.table_records import ApiKey, ItemList, PublishedRow, RunRecord

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

    @property
    def published_at(self) -> datetime:
        """When the pointer moved to it; aware, UTC."""
        ...

    @property
    def previous_run_id(self) -> str | None:
        """What was live before."""
        ...


class TablesDoor(Protocol):
    """The published tables and the event log."""

    def current(self, surface: str = ..., /) -> Publication | None:
        """The live run of a surface, or None where nothing was ever published there."""
        ...

    def run(self, run_id: str, /) -> RunRecord | None:
        """What was recorded of a run."""
        ...

    def published_row(self, user_id: str, /, *, surface: str) -> PublishedRow | None:
        """A user's published list by rank; None for a user without one."""
        ...

    def similar_to(self, item_id: str, k: int, /, *, surface: str) -> ItemList | None:
        """An item's published neighbours by rank, at most k rows; None or no rows for an item without any."""
        ...

    def popular(self, category: str, k: int, /, *, surface: str) -> ItemList | None:
        """Published popular items by rank, at most k rows; `category` "" means overall."""
        ...

    def append_new_events(self, events: pl.DataFrame, /) -> pl.DataFrame:
        """Write event_id, user_id, item_id, timestamp, event, value, durably; return the rows that were new."""
        ...

    def events_since(self, start: datetime, /) -> pl.DataFrame:
        """user_id, item_id, timestamp, event, value of the logged events with a timestamp at or after `start`."""
        ...

    def delete_user(self, user_id: str, /) -> dict[str, int]:
        """Delete a user's lists and events; rows deleted by table."""
        ...

    def issued_keys(self) -> list[ApiKey]:
        """Every key of the service, revoked ones too."""
        ...


class FeaturesDoor(Protocol):
    """The online store. A feature older than the one stored never replaces it."""

    def online(self, name: str, entity_ids: Sequence[str], /) -> pl.DataFrame:
        """Rows of a view, or of the views of a service with `<view>__` before their names, one an entity in the order
        asked; an unknown one has null values.
        """
        ...

    def write_online(self, view: str, frame: pl.DataFrame, /) -> int:
        """Write rows of one view, where they are not older than what is there; how many were given."""
        ...

    def delete_online(self, views: Sequence[str], entity_id: str, /) -> int:
        """Delete an entity from views; how many of them had it."""
        ...


class TextEncoder(Protocol):
    """Encodes texts as the night does."""

    @property
    def model(self) -> str:
        """The encoder's identity, as vectors bear it."""
        ...

    def encode(self, texts: Sequence[str], /) -> np.ndarray:
        """float32 [texts, width]."""
        ...
