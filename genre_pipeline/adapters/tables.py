"""The door to the published tables: stage, publish, read, log events. The same on SQLite and PostgreSQL.

What belongs here: the one class that the rest of the house holds, and its readers. What does not: the rules of
publication (`publishing`), bulk loading (`bulk_load`), the connection (`database`).

Readers take one snapshot and go by primary key: the pointer, the list, its titles. Plain SQL has the views
`current_recommendations`, `current_similar_items` and `current_popular_items`, which show the same rows.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import sqlalchemy as sa

from genre_pipeline.adapters import bulk_load, event_log, migrations, publishing
from genre_pipeline.adapters.database import Database
from genre_pipeline.adapters.table_definitions import (
    catalogue,
    popular_items,
    publication,
    recommendations,
    runs,
    similar_items,
)
from genre_pipeline.adapters.table_records import (
    DEFAULT_SURFACE,
    ItemList,
    ListedItem,
    Publication,
    PublicationExpectation,
    RecommendedItem,
    RunRecord,
    TablesHealth,
    UserRecommendations,
)
from genre_pipeline.contracts.columns import ITEM_ID
from genre_pipeline.contracts.errors import NotPublishedError
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
_IDS_AT_A_TIME = 10_000
"""SQLite takes 32,766 parameters in a statement."""


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
            row = _find_list(connection, recommendations, user_id, surface)
            if row is None:
                return None
            titles = _titles(connection, row["run_id"], row["item_ids"][:k])
        listed = zip(row["item_ids"][:k], row["scores"][:k], row["reasons"], strict=False)
        rows = tuple(
            RecommendedItem(item_id, titles.get(item_id), rank, score, tuple(reasons))
            for rank, (item_id, score, reasons) in enumerate(listed, start=1)
        )
        return UserRecommendations(user_id, row["run_id"], row["as_of"], rows)

    def similar_to(self, item_id: str, k: int = 10, *, surface: str = DEFAULT_SURFACE) -> ItemList | None:
        """The `k` nearest items of an item; None for an item without any."""
        return self._item_list(similar_items, item_id, k, surface)

    def popular(self, category: str = "", k: int = 10, *, surface: str = DEFAULT_SURFACE) -> ItemList | None:
        """The `k` most popular items of a category, of all where it is empty; None for an unknown category."""
        return self._item_list(popular_items, category, k, surface)

    def catalogue_rows(self, item_ids: Sequence[str], *, surface: str = DEFAULT_SURFACE) -> pl.DataFrame:
        """The published catalogue's rows of these items, in their order, without those it does not have.

        Columns item_id, title, categories List(String), image, audio, available.
        """
        wanted = list(dict.fromkeys(item_id for item_id in item_ids if _is_storable(item_id)))
        schema = bulk_load.STORED_SCHEMAS["catalogue"]
        rows: list[tuple[Any, ...]] = []
        with self._database.read() as connection:
            run_id = _live_run_id(connection, surface)
            for start in range(0, len(wanted), _IDS_AT_A_TIME):
                some = wanted[start : start + _IDS_AT_A_TIME]
                found = _catalogue_query([catalogue.c[name] for name in schema], run_id, some)
                rows.extend(tuple(row) for row in connection.execute(found))
        order = pl.DataFrame({ITEM_ID: wanted}, schema={ITEM_ID: pl.String})
        return order.join(pl.DataFrame(rows, schema=schema, orient="row"), on=ITEM_ID, maintain_order="left")

    def append_events(self, events: pl.DataFrame | Sequence[Mapping[str, object]]) -> int:
        """Log events (event_id, user_id, item_id, timestamp, event, value); how many were new. Durable on return."""
        return self.append_new_events(events).height

    def append_new_events(self, events: pl.DataFrame | Sequence[Mapping[str, object]]) -> pl.DataFrame:
        """Log events; those whose event_id was not there yet come back. `ContractError` for rows that break it."""
        frame = event_log.event_frame(events)
        with self._database.write() as connection:
            return event_log.append(connection, frame, self._clock())

    def events_of(self, day: date) -> pl.DataFrame:
        """`Interactions` logged with a timestamp on this UTC day, by time, then event id."""
        with self._database.read() as connection:
            return Interactions.cast(event_log.of_day(connection, day))

    def events_since(self, start: datetime) -> pl.DataFrame:
        """`Interactions` logged with a timestamp at or after `start`."""
        with self._database.read() as connection:
            return Interactions.cast(event_log.since(connection, start))

    def delete_user(self, user_id: str) -> dict[str, int]:
        """Delete a user's lists in every run, live or not, and events; rows deleted by table.

        The runs remember how many rows were erased, so that a run staged before can still be published.
        """
        if not _is_storable(user_id):
            return {"recommendations": 0, "events": 0}
        with self._database.write(publishing.lock_name()) as connection:
            lists = publishing.erase_user(connection, user_id)
            logged = event_log.delete_user(connection, user_id)
        self._database.scrub()
        return {"recommendations": lists, "events": logged}

    def health(self) -> TablesHealth:
        """Where the tables are, whether they fit this code, and what is published. `TablesError` when unreachable."""
        with self._database.read() as connection:
            revision = migrations.current_revision(connection)
            live = None if revision is None else publishing.find_publication(connection, DEFAULT_SURFACE)
        return TablesHealth(self._database.name, revision, revision == migrations.head_revision(), live)

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    def _item_list(self, table: sa.Table, key: str, k: int, surface: str) -> ItemList | None:
        with self._database.read() as connection:
            row = _find_list(connection, table, key, surface)
            if row is None:
                return None
            titles = _titles(connection, row["run_id"], row["item_ids"][:k])
        listed = zip(row["item_ids"][:k], row["scores"][:k], strict=True)
        rows = tuple(ListedItem(item, titles.get(item), rank, score) for rank, (item, score) in enumerate(listed, 1))
        return ItemList(key, row["run_id"], row["as_of"], rows)


def _find_list(connection: sa.Connection, table: sa.Table, key: str, surface: str) -> sa.RowMapping | None:
    """The live row of a list, by primary key; `NotPublishedError` where the surface shows nothing."""
    if _is_storable(key):
        own = next(column for column in table.primary_key.columns if column.name != "run_id")
        columns = [column for column in table.columns if column.name not in ("run_id", own.name)]
        query = (
            sa.select(publication.c.run_id, runs.c.as_of, *columns)
            .join(runs, runs.c.run_id == publication.c.run_id)
            .join(table, sa.and_(table.c.run_id == publication.c.run_id, own == sa.bindparam("key")))
            .where(publication.c.surface == sa.bindparam("surface"))
        )
        row = connection.execute(query, {"key": key, "surface": surface}).mappings().one_or_none()
        if row is not None:
            return row
    _live_run_id(connection, surface)
    return None


def _live_run_id(connection: sa.Connection, surface: str) -> str:
    query = sa.select(publication.c.run_id).where(publication.c.surface == surface)
    run_id = connection.execute(query).scalar_one_or_none()
    if run_id is None:
        raise NotPublishedError(
            f"Nothing has been published for {surface!r}", remedy="Run the nightly job: `genre run`."
        )
    return str(run_id)


def _titles(connection: sa.Connection, run_id: str, item_ids: Sequence[str]) -> dict[str, str | None]:
    found = connection.execute(_catalogue_query([catalogue.c.item_id, catalogue.c.title], run_id, item_ids))
    return {row.item_id: row.title for row in found}


def _catalogue_query(
    columns: Sequence[sa.Column[Any]], run_id: str, item_ids: Sequence[str]
) -> sa.Select[tuple[Any, ...]]:
    return sa.select(*columns).where(catalogue.c.run_id == run_id, catalogue.c.item_id.in_(item_ids))


def _is_storable(text: str) -> bool:
    """Whether a database can hold this text at all: an id with NUL or half a surrogate pair belongs to nobody."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
