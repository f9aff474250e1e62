"""The service's doors in memory: small, real in what they promise (guarded writes, each event once), and breakable."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

import polars as pl

from genre_pipeline.adapters.table_records import (
    ApiKey,
    ItemList,
    ListedItem,
    Publication,
    PublishedRow,
    RunRecord,
)
from genre_pipeline.contracts.columns import EVENT_TIMESTAMP
from genre_pipeline.contracts.errors import FeatureStoreError, TablesError
from genre_pipeline.contracts.names import IMPRESSION
from genre_pipeline.contracts.tables import LOGGED_SCHEMA, TIME, Interactions

_STATISTICS = {
    "interactions_total": pl.Int64,
    "interactions_7d": pl.Int64,
    "interactions_30d": pl.Int64,
    "items_total": pl.Int64,
    "mean_value": pl.Float64,
    "days_since_first": pl.Float64,
    "days_since_last": pl.Float64,
}
VIEWS: dict[str, dict[str, pl.DataType | type[pl.DataType]]] = {
    "user_histories": {
        "user_id": pl.String,
        EVENT_TIMESTAMP: TIME,
        "item_ids": pl.List(pl.String),
        "timestamps": pl.List(pl.Int64),
        "events": pl.List(pl.String),
    },
    "user_vectors": {
        "user_id": pl.String,
        EVENT_TIMESTAMP: TIME,
        "model": pl.String,
        "vector": pl.List(pl.Float32),
    },
    "user_statistics": {"user_id": pl.String, EVENT_TIMESTAMP: TIME, **_STATISTICS},
}


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class InMemoryFeatures:
    """An online store that keeps the latest event of each entity."""

    def __init__(self) -> None:
        self.rows = {view: pl.DataFrame(schema=schema) for view, schema in VIEWS.items()}
        self.is_down = False

    def online(self, name: str, entity_ids: Sequence[str]) -> pl.DataFrame:
        self._check()
        if name != "scoring_v1":
            return self._view(name, entity_ids)
        parts = [
            self._view(view, entity_ids).drop("user_id").select(pl.all().name.prefix(f"{view}__")) for view in VIEWS
        ]
        return pl.concat([pl.DataFrame({"user_id": list(entity_ids)}), *parts], how="horizontal")

    def delete_online(self, views: Sequence[str], entity_id: str) -> int:
        self._check()
        had = sum(entity_id in set(self.rows[view]["user_id"]) for view in views)
        for view in views:
            self.rows[view] = self.rows[view].filter(pl.col("user_id") != entity_id)
        return had

    def _view(self, view: str, entity_ids: Sequence[str]) -> pl.DataFrame:
        ids = pl.DataFrame({"user_id": list(entity_ids)}, schema={"user_id": pl.String})
        return ids.join(self.rows[view], on="user_id", how="left", maintain_order="left").select(list(VIEWS[view]))

    def write_online(self, view: str, frame: pl.DataFrame) -> int:
        self._check()
        joined = pl.concat([self.rows[view], frame.select(self.rows[view].columns).cast(VIEWS[view])])
        latest = joined.sort(EVENT_TIMESTAMP, maintain_order=True).unique("user_id", keep="last", maintain_order=True)
        self.rows[view] = latest
        return frame.height

    def _check(self) -> None:
        if self.is_down:
            raise FeatureStoreError("The online store does not answer", remedy="Start it.")


class InMemoryTables:
    """Published lists and an event log."""

    def __init__(self) -> None:
        self.publications: dict[str, Publication] = {}
        self.keys: list[ApiKey] = []
        self.lists: dict[str, list[tuple[str, float]]] = {}
        self.similar: dict[str, list[tuple[str, float]]] = {}
        self.popular_lists: dict[str, list[tuple[str, float]]] = {}
        self.log = pl.DataFrame(schema=LOGGED_SCHEMA)
        self.is_down = False

    @property
    def publication(self) -> Publication | None:
        return self.publications.get("default")

    def publish(self, run_id: str, day: date, as_of: datetime, surface: str = "default") -> None:
        self.publications[surface] = Publication(surface, run_id, day, as_of, as_of, None)

    def current(self, surface: str = "default") -> Publication | None:
        self._check()
        return self.publications.get(surface)

    def run(self, run_id: str) -> RunRecord | None:
        self._check()
        for live in self.publications.values():
            if live.run_id == run_id:
                return RunRecord(run_id, live.day, live.as_of, "model-1", "code-1", {}, {})
        return None

    def issued_keys(self) -> list[ApiKey]:
        self._check()
        return self.keys

    def published_row(self, user_id: str, *, surface: str) -> PublishedRow | None:
        self._check()
        live = self.publications.get(surface)
        if user_id not in self.lists or live is None:
            return None
        item_ids, scores = [item for item, _ in self.lists[user_id]], [score for _, score in self.lists[user_id]]
        return PublishedRow(live.run_id, item_ids, scores, [["from the night"]] * len(item_ids), "default")

    def similar_to(self, item_id: str, k: int, *, surface: str) -> ItemList | None:
        return self._items(self.similar, item_id, k, surface)

    def popular(self, category: str, k: int, *, surface: str) -> ItemList | None:
        return self._items(self.popular_lists, category, k, surface)

    def delete_user(self, user_id: str) -> dict[str, int]:
        self._check()
        mine = self.log.filter(pl.col("user_id") == user_id).height
        self.log = self.log.filter(pl.col("user_id") != user_id)
        return {"recommendations": int(self.lists.pop(user_id, None) is not None), "events": mine}

    def append_new_events(self, events: pl.DataFrame) -> pl.DataFrame:
        self._check()
        new = events.unique("event_id", keep="first", maintain_order=True).join(self.log, on="event_id", how="anti")
        self.log = pl.concat([self.log, new])
        return new

    def events_since(self, start: datetime) -> pl.DataFrame:
        self._check()
        done = self.log.filter(pl.col("timestamp") >= start, pl.col("event") != IMPRESSION)
        return done.select(Interactions.column_names())

    def _items(self, lists: Mapping[str, list[tuple[str, float]]], key: str, k: int, surface: str) -> ItemList | None:
        self._check()
        live = self.publications.get(surface)
        if key not in lists or live is None:
            return None
        rows = [ListedItem(item, item, rank, score) for rank, (item, score) in enumerate(lists[key][:k], start=1)]
        return ItemList(key, live.run_id, live.as_of, tuple(rows))

    def _check(self) -> None:
        if self.is_down:
            raise TablesError("The database does not answer", remedy="Start it.")
