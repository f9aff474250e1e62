"""The door to the published tables: stage, publish, read, log events. The same on SQLite and PostgreSQL.

What belongs here: the one class that the rest of the house holds, and its readers. What does not: the rules of
publication (`publishing`), bulk loading (`bulk_load`), the connection (`database`).

Readers take one snapshot and go by primary key: the pointer, the list, its titles. Plain SQL has the views
`current_recommendations`, `current_similar_items` and `current_popular_items`, which show the same rows.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime

import polars as pl
import sqlalchemy as sa

from genre_pipeline.adapters import api_keys, bulk_load, event_log, ledger, list_reader, migrations, publishing
from genre_pipeline.adapters.database import Database
from genre_pipeline.adapters.table_definitions import runs
from genre_pipeline.adapters.table_records import (
    DEFAULT_SURFACE,
    ApiKey,
    ItemList,
    ListedItem,
    Publication,
    PublicationExpectation,
    PublishedRow,
    RecommendedItem,
    RunRecord,
    TablesHealth,
    UserRecommendations,
)
from genre_pipeline.contracts.tables import Interactions

__all__ = [
    "ItemList",
    "ListedItem",
    "Publication",
    "PublicationExpectation",
    "RecommendedItem",
    "RunRecord",
    "Tables",
    "TablesHealth",
    "UserRecommendations",
]


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Tables:
    """The output tables at a database URL, `sqlite:///file` or `postgresql://…`.

    Safe to share between threads. `clock` stamps what is staged, published and received.
    Every method raises `TablesError` where the database does not answer.
    """

    def __init__(self, url: str, *, clock: Callable[[], datetime] = _utc_now) -> None:
        self._database = Database(url)
        self._clock = clock

    def migrate(self) -> None:
        """Bring the schema to what this code asks for. Two processes at once: one does it, the other waits."""
        with self._database.write("migration") as connection:
            migrations.upgrade(connection)

    def downgrade(self, revision: str = "base") -> None:
        """Take the schema back to a revision. At `base` every table is gone."""
        with self._database.write("migration") as connection:
            migrations.downgrade(connection, revision)

    def stage(
        self,
        run: RunRecord,
        recommendations: pl.DataFrame,
        similar: pl.DataFrame,
        popular: pl.DataFrame,
        catalogue: pl.DataFrame,
    ) -> PublicationExpectation:
        """Write a run's lists under its run id, where no reader sees them yet, in one transaction.

        Frames: `Recommendations` and `reasons` List(String); `SimilarItems`; `PopularItems`; `Items`. Staging the same
        again does nothing; other rows replace those of an unpublished run. Returns what `publish` should expect.
        Raises `PublishRefusedError` for lists that are not ranked 1 to n, and for a published run id with other rows.
        """
        folded = bulk_load.fold(recommendations, similar, popular, catalogue)
        with self._database.write() as connection:
            return publishing.stage(connection, run, folded, self._clock())

    def publish(
        self,
        run_id: str,
        *,
        expected: PublicationExpectation,
        allow_older: bool = False,
        surface: str = DEFAULT_SURFACE,
        keep: int = 2,
    ) -> Publication:
        """Verify a staged run, show it to readers at once, then retire all but the `keep` last published runs.

        A run of an older day than the published one is verified and left: the answer has `moved` False and a `reason`,
        unless `allow_older`. Raises `PublishRefusedError` when verification fails; what was published stays.
        """
        answer = publishing.publish(
            self._database, run_id, expected, surface=surface, allow_older=allow_older, now=self._clock()
        )
        if answer.moved:
            self.retire(keep)
        return answer

    def rollback(self, surface: str = DEFAULT_SURFACE) -> Publication:
        """Show the run before again; what was live becomes the run before. `NotPublishedError` where there is none."""
        with self._database.write(publishing.lock_name()) as connection:
            return publishing.rollback(connection, surface, self._clock())

    def retire(self, keep: int = 2) -> list[str]:
        """Delete rows of runs that are neither live, nor the one before, nor among the `keep` last published.

        Their rows in `runs` stay. Runs staged a day ago and never published go too. Returns the run ids.
        """
        return publishing.retire(self._database, keep, self._clock())

    def current(self, surface: str = DEFAULT_SURFACE) -> Publication | None:
        """What is published; None before the first time."""
        with self._database.read() as connection:
            return publishing.find_publication(connection, surface)

    def previous(self, surface: str = DEFAULT_SURFACE) -> Publication | None:
        """What `rollback` would show; None where there is none."""
        with self._database.read() as connection:
            return publishing.find_previous(connection, surface)

    def run(self, run_id: str) -> RunRecord | None:
        """What was recorded of a run, retired or not; None where there never was one of that name."""
        columns = [runs.c[name] for name in RunRecord.__dataclass_fields__]
        with self._database.read() as connection:
            row = connection.execute(sa.select(*columns).where(runs.c.run_id == run_id)).mappings().one_or_none()
        return None if row is None else RunRecord(**row)

    def recommendations_for(
        self, user_id: str, k: int = 10, *, surface: str = DEFAULT_SURFACE
    ) -> UserRecommendations | None:
        """A user's first `k` recommendations; None for a user without a list, `NotPublishedError` before any."""
        with self._database.read() as connection:
            return list_reader.user_recommendations(connection, user_id, k, surface)

    def published_row(self, user_id: str, *, surface: str = DEFAULT_SURFACE) -> PublishedRow | None:
        """A user's whole list as it is stored, at a twentieth of the cost; `NotPublishedError` before any."""
        return list_reader.published_row(self._database, user_id, surface)

    def similar_to(self, item_id: str, k: int = 10, *, surface: str = DEFAULT_SURFACE) -> ItemList | None:
        """The `k` nearest items of an item; None for an item without any."""
        with self._database.read() as connection:
            return list_reader.similar_list(connection, item_id, k, surface)

    def popular(self, category: str = "", k: int = 10, *, surface: str = DEFAULT_SURFACE) -> ItemList | None:
        """The `k` most popular items of a category, of all where it is empty; None for an unknown category."""
        with self._database.read() as connection:
            return list_reader.popular_list(connection, category, k, surface)

    def catalogue_rows(self, item_ids: Sequence[str], *, surface: str = DEFAULT_SURFACE) -> pl.DataFrame:
        """The published catalogue's rows of these items, in their order, without those it does not have.

        Columns item_id, title, categories List(String), image, audio, available.
        """
        with self._database.read() as connection:
            return list_reader.catalogue_rows(connection, item_ids, surface)

    def append_events(self, events: pl.DataFrame | Sequence[Mapping[str, object]]) -> int:
        """Log events (`LOGGED_SCHEMA`); how many were new. Durable on return."""
        return self.append_new_events(events).height

    def append_new_events(self, events: pl.DataFrame | Sequence[Mapping[str, object]]) -> pl.DataFrame:
        """Log events; those whose event_id was not there yet come back. `ContractError` for rows that break it."""
        frame = event_log.event_frame(events)
        with self._database.write() as connection:
            return event_log.append(connection, frame, self._clock())

    def events_of(self, day: date) -> pl.DataFrame:
        """`Interactions` logged with a timestamp on this UTC day, by time, then event id; impressions are none."""
        with self._database.read() as connection:
            return Interactions.cast(event_log.of_day(connection, day))

    def events_since(self, start: datetime) -> pl.DataFrame:
        """`Interactions` logged with a timestamp at or after `start`; impressions are none."""
        with self._database.read() as connection:
            return Interactions.cast(event_log.since(connection, start))

    def feedback(self, start: datetime, end: datetime, positive: Sequence[str]) -> pl.DataFrame:
        """Impressions and events of the types `positive` logged in [start, end): `LOGGED_SCHEMA` without value."""
        with self._database.read() as connection:
            return event_log.feedback(connection, start, end, positive)

    def day_published_before(self, day: date) -> date | None:
        """The latest earlier day that was ever published, retired or not; None where there is none."""
        query = sa.select(sa.func.max(runs.c.day)).where(runs.c.day < day, runs.c.published_at.is_not(None))
        with self._database.read() as connection:
            found: date | None = connection.scalar(query)
        return found

    def delete_user(self, user_id: str) -> dict[str, int]:
        """Delete a user's lists in every run, live or not, events and calls of language models; rows deleted by table.

        The runs remember how many rows were erased, so that a run staged before can still be published.
        """
        if not list_reader.is_storable(user_id):
            return {"recommendations": 0, "events": 0, "llm_calls": 0}
        with self._database.write(publishing.lock_name()) as connection:
            lists = publishing.erase_user(connection, user_id)
            logged = event_log.delete_user(connection, user_id)
            asked = ledger.erase_user(connection, user_id)
        self._database.scrub()
        return {"recommendations": lists, "events": logged, "llm_calls": asked}

    def create_key(
        self, name: str, scopes: Sequence[str], *, requests_per_second: float | None = None
    ) -> tuple[ApiKey, str]:
        """A new key of the service: what is kept of it, and the whole key, which is shown this once."""
        with self._database.write() as connection:
            return api_keys.create(connection, name, scopes, requests_per_second, self._clock())

    def issued_keys(self) -> list[ApiKey]:
        """Every key there ever was, revoked ones too, oldest first."""
        with self._database.read() as connection:
            return api_keys.all_keys(connection)

    def revoke_key(self, key_id: str) -> ApiKey:
        """Revoke a key for good. Raises `ConfigError` for an unknown one."""
        with self._database.write() as connection:
            return api_keys.revoke(connection, key_id, self._clock())

    def health(self) -> TablesHealth:
        """Where the tables are, whether they fit this code, and what is published. `TablesError` when unreachable."""
        with self._database.read() as connection:
            revision = migrations.current_revision(connection)
            live = None if revision is None else publishing.find_publication(connection, DEFAULT_SURFACE)
        return TablesHealth(self._database.name, revision, revision == migrations.head_revision(), live)

    def close(self) -> None:
        """Close every connection."""
        self._database.close()
