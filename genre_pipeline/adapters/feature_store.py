"""Feast behind one small class: apply, materialise, write, read online, and join point in time.

Frames go in and come out; whoever calls knows no Feast. The features themselves are declared in `feature_repo/`; where
things lie is decided in `feature_locations`. Two doors are semi-public in Feast, its provider's `online_write_batch`
and `online_read`, and only this module goes through them: the official conversion costs more than the write.

Feast takes seconds to import and is imported when a store is first used, not when this module is.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from pydantic import Field

from genre_pipeline.adapters.feature_locations import DATA, resolved_home
from genre_pipeline.adapters.partitions import PART, PartitionStore
from genre_pipeline.contracts.columns import EVENT_TIMESTAMP, USER_ID
from genre_pipeline.contracts.errors import FeatureStoreError, MissingPartitionError
from genre_pipeline.contracts.settings import Settings

if TYPE_CHECKING:
    from genre_pipeline.adapters.feature_repository import FeatureRepository, ServedView

Report = Callable[[str, int], None]
"""Told a view's name and how many of its rows have been written so far."""
_ONE_DAY = timedelta(days=1)


class FeatureStoreConfig(Settings):
    """Where the feature store lies and how it is written."""

    repo_path: Path = Path("feature_repo")
    """The folder with `feature_store.yaml` and `definitions.py`."""
    home: Path = Path(".genre")
    """The pipeline's home: partitions under `data/`, the SQLite registry and online store under `feast/`."""
    database_url: str | None = Field(default=None, repr=False)
    """A PostgreSQL URL for the registry and the online store; without one both are SQLite files in the home."""
    overlap_days: int = Field(default=2, ge=0)
    """How many days before its start a materialisation reads again, for rows that arrived late."""
    write_rows: int = Field(default=10_000, ge=1)
    """Rows to a transaction of the online store: what a reader may have to wait for, and what memory holds."""
    join_rows: int = Field(default=20_000, ge=1)
    """Rows to a block of a point-in-time join, which meets every snapshot within the time to live in memory."""


@dataclass(frozen=True)
class FeatureStoreHealth:
    """What a healthy feature store answers."""

    registry: str
    """`sqlite` or `postgresql`."""
    views: tuple[str, ...]
    """Feature views that are registered and whose online tables answer."""
    services: tuple[str, ...]
    """Feature services that are registered."""


class FeatureStore:
    """The project's feature store. Safe to share between threads; every method names what is wrong as GenreErrors."""

    def __init__(self, config: FeatureStoreConfig) -> None:
        self.config = config
        self._home = resolved_home(str(config.home))
        self._partitions = PartitionStore(self._home / DATA)
        self._opening = threading.Lock()
        self._repository: FeatureRepository | None = None

    def apply(self) -> tuple[str, ...]:
        """Register what `feature_repo/definitions.py` declares, make the online tables, and return the view names.

        Does what `feast apply` does, in the same registry; safe to repeat. A view that is declared no more is removed.
        """
        from genre_pipeline.adapters.feature_repository import apply_definitions

        self.close()
        with self._opening:
            return apply_definitions(self.config.repo_path, self._home, self.config.database_url)

    def materialise(
        self, views: Sequence[str], start: datetime, end: datetime, report: Report | None = None
    ) -> dict[str, int]:
        """Bring each entity's last row with start - overlap <= event_timestamp <= end online; rows written by view.

        Reads the partitions newest first: a snapshot holds every entity, so older ones are opened only for entities
        that the newer ones lack. Rows the online store already knows later events of are left out by its guard.
        Raises MissingPartitionError where a view has no night in the window, FeatureStoreError for an unknown view.
        """
        since = start - timedelta(days=self.config.overlap_days)
        return {view: self._materialise_view(view, since, end, report) for view in views}

    def write_online(self, view: str, frame: pl.DataFrame, report: Report | None = None) -> int:
        """Write rows of a view (entity, `event_timestamp` in UTC, every feature) online and return how many there were.

        The fast path for nights and events alike, `write_rows` rows a transaction. A row that is older than what the
        store holds changes nothing. Columns the view does not have are ignored. Raises FeatureStoreError for a missing
        column, a wrong type, or a null entity or time, before anything is written.
        """
        repository = self._opened()
        served = repository.view(view)
        rows = served.checked(frame)
        written = 0
        for part in rows.iter_slices(self.config.write_rows):
            repository.write(served, part)
            written += part.height
            if report is not None:
                report(view, written)
        return written

    def online(self, name: str, entity_ids: Sequence[str], *, entity: str | None = None) -> pl.DataFrame:
        """The features of a view or service now, one row an entity, in the order asked; repeats are answered again.

        Of a view: the entity column, the features by name, and `event_timestamp`. Of a service: the entity column and
        `<view>__<feature>`, `<view>__event_timestamp` for each of its views of that `entity`, which is `user_id` unless
        named. What is unknown is null, its time too. The time to live is not applied: judge by the timestamps.
        """
        repository = self._opened()
        parts = repository.served(name)
        of_service = repository.is_service(name)
        key = entity or (USER_ID if of_service else parts[0].join_key)
        chosen = [part for part in parts if part.join_key == key]
        if not chosen:
            raise FeatureStoreError(
                f"{name} has no features of {key!r}",
                remedy="Ask for one of its entities.",
                culprits=sorted({part.join_key for part in parts}),
            )
        return repository.read(chosen, pl.Series(key, list(entity_ids), dtype=pl.String), prefixed=of_service)

    def delete_online(self, views: Sequence[str], entity_id: str) -> int:
        """Delete an entity from the online rows of views; how many of them had it."""
        repository = self._opened()
        return sum(repository.delete(repository.view(view), entity_id) for view in views)

    def historical(self, entity_frame: pl.DataFrame, name: str) -> pl.DataFrame:
        """The features of a view or service as they were known at each row's `event_timestamp`.

        `entity_frame` has `event_timestamp` (Datetime us UTC), the entity columns (`user_id`, `item_id`) and whatever
        else, all of it kept: the same rows in the same order, with the columns `<feature>` of a view or
        `<view>__<feature>` of a service added, and `<view>__event_timestamp`, when they became true. A row sees the
        last snapshot at or before its time and within the view's time to live; where there is none, null. Partitions
        that may be read are verified first. Raises FeatureStoreError for rows without an entity or a time, or with a
        column that a feature would hide.
        """
        repository = self._opened()
        wanted = repository.distinct_rows(name, entity_frame)
        known = [part for part in repository.served(name) if self._has_snapshots(part, wanted[EVENT_TIMESTAMP])]
        blocks = list(wanted.iter_slices(self.config.join_rows)) or [wanted]
        found = pl.concat([repository.join(name, block, known) for block in blocks])
        return entity_frame.join(found, on=wanted.columns, how="left", maintain_order="left")

    def time_to_live(self, view: str) -> timedelta:
        """How old a view's row may be before it should not be used; Feast does not apply it to online reads."""
        return self._opened().view(view).time_to_live

    def health(self) -> FeatureStoreHealth:
        """Ask the registry for all views and each online table for a row; FeatureStoreError says what is missing."""
        repository = self._opened()
        views, services = repository.registered()
        for part in (repository.view(name) for name in views):
            repository.read([part], pl.Series(part.join_key, [""]), prefixed=False)
        return FeatureStoreHealth(repository.backend, tuple(views), tuple(services))

    def close(self) -> None:
        """Let go of the connections; the next call opens them again."""
        with self._opening:
            if self._repository is not None:
                self._repository.close()
                self._repository = None

    def _opened(self) -> "FeatureRepository":
        if self._repository is None:
            from genre_pipeline.adapters.feature_repository import FeatureRepository

            with self._opening:
                if self._repository is None:
                    self._repository = FeatureRepository(self.config.repo_path, self._home, self.config.database_url)
                return self._repository
        return self._repository

    def _materialise_view(self, view: str, since: datetime, end: datetime, report: Report | None) -> int:
        key = self._opened().view(view).join_key
        seen = pl.DataFrame(schema={key: pl.String})
        written, is_empty_night = 0, False

        def told(name: str, rows: int) -> None:
            if report is not None:
                report(name, written + rows)

        for path in self._newest_first(view, since, end):
            window = pl.scan_parquet(path).filter(pl.col(EVENT_TIMESTAMP).is_between(since, end))
            is_empty_night |= pl.scan_parquet(path).select(pl.len()).collect().item() == 0
            fresh = window.select(key).collect().unique().join(seen, on=key, how="anti")
            if fresh.height:
                rows = window.join(fresh.lazy(), on=key, how="semi").sort(EVENT_TIMESTAMP)
                written += self.write_online(view, rows.unique(key, keep="last").collect(), told)
                seen = pl.concat([seen, fresh])
        if not written and not is_empty_night:
            raise _nothing_in_window(view, since, end)
        return written

    def _newest_first(self, view: str, since: datetime, end: datetime) -> Iterator[Path]:
        """Verified files of the days that may hold rows of the window: a row is stamped at most a day after its day."""
        first, last = (since - _ONE_DAY).date().isoformat(), end.date().isoformat()
        for day in reversed([key for key in self._partitions.keys(view) if first <= key <= last]):
            yield self._partitions.folder(view, day) / PART

    def _has_snapshots(self, served: "ServedView", times: pl.Series) -> bool:
        """Whether any snapshot may be seen from those times; those that may be are verified."""
        first, last = times.min(), times.max()
        if not isinstance(first, datetime) or not isinstance(last, datetime):
            return False
        return bool(list(self._newest_first(served.name, first - served.time_to_live, last)))


def _nothing_in_window(view: str, since: datetime, end: datetime) -> MissingPartitionError:
    return MissingPartitionError(
        f"{view} has no rows from {since:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}",
        remedy=f"Materialise it for those days: `genre run --select {view} --date DAY`, or a backfill.",
    )
