"""Following the publication pointer: holds the run in memory, looks at the pointer now and then, swaps whole runs.

Also what users have had since that run: a history keeps the latest items only, and a list must not repeat the others.
"""

import logging
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Lock

import numpy as np
import polars as pl

from genre_pipeline.adapters.table_records import DEFAULT_SURFACE
from genre_pipeline.contracts.columns import EVENT, ITEM_ID, USER_ID, VALUE
from genre_pipeline.contracts.errors import GenreError, NotPublishedError
from genre_pipeline.serving.doors import Clock, Publication, TablesDoor
from genre_pipeline.serving.published import PublishedRun, needs_reload

_Deed = tuple[str, str, float | None]
"""Item, event type and value."""
_log = logging.getLogger(__name__)
_COUNT_EVERY = timedelta(seconds=1)
_LOG_DAYS = 7
"""How far back, at most, the event log is read when a run is taken up."""


class HeldRun:
    """One run at a time. `look` may run in a thread beside the readers: they take the run as it is, and what changes it
    takes turns.
    """

    def __init__(
        self,
        tables: TablesDoor,
        load_run: Callable[[Publication], PublishedRun],
        clock: Clock,
        every: timedelta,
        surface: str = DEFAULT_SURFACE,
    ) -> None:
        self.surface = surface
        self._tables = tables
        self._load_run = load_run
        self._clock = clock
        self._every = every
        self._run: PublishedRun | None = None
        self._looked_at: datetime | None = None
        self._since: dict[str, set[_Deed]] = {}
        self._arriving: dict[str, set[_Deed]] = {}
        self._uncounted: Counter[str] = Counter()
        self._counted_at: datetime | None = None
        self._changing = Lock()
        self.problem: GenreError | None = None
        """Why the run that the pointer names is not the one held."""

    @property
    def run(self) -> PublishedRun:
        """The run in memory. Raises NotPublishedError, or what kept the first run from being read."""
        if self._run is not None:
            return self._run
        if self.problem is not None:
            raise self.problem
        raise NotPublishedError(
            "Nothing has been published yet", remedy="Run the nightly job once: `genre run`, or `genre demo`."
        )

    @property
    def has_run(self) -> bool:
        """Whether there is a run to answer from."""
        return self._run is not None

    def is_look_due(self) -> bool:
        """Whether the pointer has not been looked at for a while."""
        return self._looked_at is None or self._clock() - self._looked_at >= self._every

    def look(self) -> bool:
        """Look at the pointer and take up the run it names, if that is another; whether it did.

        A run that cannot be read is not taken: the old one stays, and `problem` says why.
        """
        self._looked_at = self._clock()
        try:
            live = self._tables.current(self.surface)
            if live is None or not needs_reload(self._run, live):
                self.problem = None
                return False
            self._take(live)
        except GenreError as error:
            _log.error("the published run cannot be taken up: %s: %s", type(error).__name__, error.problem)
            self.problem = error
            return False
        return True

    def note(self, events: pl.DataFrame) -> None:
        """Remember what users just had; what is popular follows within seconds."""
        by_user = _deeds_by_user(events)
        with self._changing:
            self._uncounted.update(events[ITEM_ID].to_list())
            for user_id, deeds in by_user.items():
                self._since.setdefault(user_id, set()).update(deeds)
                self._arriving.setdefault(user_id, set()).update(deeds)

    def items_since(self, user_id: str) -> list[str]:
        """Items the user has had since the run, sorted."""
        return sorted({item for item, _, _ in self._since.get(user_id, ())})

    def finished(self, user_id: str) -> np.ndarray:
        """int64: items that the user has finished, by the night or since; nothing where no item requires any."""
        run, rule = self.run, self.run.prerequisites
        if rule is None:
            return np.zeros(0, dtype=np.int64)
        deeds = self._since.get(user_id, ())
        since = [item for item, event, value in deeds if rule.config.finishes(event, value)]
        return np.concatenate([run.finished.of(user_id).astype(np.int64), run.positions_of(since)])

    def count(self) -> None:
        """Let what was noted move the items' popularity, once a second at most."""
        now = self._clock()
        is_due = self._counted_at is None or now - self._counted_at >= _COUNT_EVERY
        if not self._uncounted or self._run is None or not is_due:
            return
        with self._changing:
            noted, self._uncounted, self._counted_at = self._uncounted, Counter(), now
            self._run = _counted(self._run, noted)

    def forget(self, user_id: str) -> None:
        """Hold nothing of a user any more."""
        with self._changing:
            self._since.pop(user_id, None)
            self._arriving.pop(user_id, None)
            if self._run is not None:
                self._run = self._run.without_user(user_id)

    def _take(self, live: Publication) -> None:
        # What is noted from here on may or may not be in the log when it is read: both are joined after.
        self._arriving = {}
        run = self._load_run(live)
        start = max(run.as_of, self._clock() - timedelta(days=_LOG_DAYS))
        events = self._tables.events_since(start)
        since = _deeds_by_user(events)
        run = _counted(run, Counter(events[ITEM_ID].to_list()))
        with self._changing:
            for user_id, deeds in self._arriving.items():
                since.setdefault(user_id, set()).update(deeds)
            self._since, self._run, self.problem, self._uncounted = since, run, None, Counter()
        _log.info("serving run %s as of %s: %d items", run.run_id, run.as_of.isoformat(), run.n_items)


def _counted(run: PublishedRun, items: Counter[str]) -> PublishedRun:
    """The run with so many more interactions of each item, as new as can be."""
    known = {item: count for item, count in items.items() if item in run.positions}
    if not known:
        return run
    counts = run.counts.copy()
    counts[run.positions_of(list(known))] += list(known.values())
    return run.with_counts(counts)


def _deeds_by_user(events: pl.DataFrame) -> dict[str, set[_Deed]]:
    grouped = events.group_by(USER_ID).agg(ITEM_ID, EVENT, VALUE)
    return {user: set(zip(items, kinds, values, strict=True)) for user, items, kinds, values in grouped.rows()}
