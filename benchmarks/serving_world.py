"""A made world of a size to be named, published as a night would: partitions, tables, online features."""

import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import polars as pl

from genre_pipeline.adapters.feature_store import FeatureStore, FeatureStoreConfig
from genre_pipeline.adapters.partitions import PartitionStore
from genre_pipeline.adapters.table_records import RunRecord
from genre_pipeline.adapters.tables import Tables

ROOT = Path(__file__).parents[1]
DAY = date(2026, 1, 1)
AS_OF = datetime(2026, 1, 2, tzinfo=UTC)
MODEL, WIDTH, LENGTH, HISTORY = "benchmark", 384, 50, 20
STAMP = pl.lit(AS_OF).dt.cast_time_unit("us").alias("event_timestamp")
RANKED = {"rank": pl.UInt32, "score": pl.Float32}


@dataclass(frozen=True)
class Doors:
    """What a service is made of."""

    tables: Tables
    features: FeatureStore
    partitions: PartitionStore


def opened(home: Path) -> Doors:
    """The doors of a made world."""
    store = FeatureStore(FeatureStoreConfig(repo_path=ROOT / "feature_repo", home=home))
    return Doors(Tables(f"sqlite:///{home / 'genre.db'}"), store, PartitionStore(home / "data"))


def make(home: Path, users: int, items: int) -> None:
    """Make the world, unless it is there."""
    if (home / "made").exists():
        return
    home.mkdir(parents=True, exist_ok=True)
    doors, generator = opened(home), np.random.default_rng(1)
    vectors = generator.normal(size=(items, WIDTH)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    taken = generator.integers(0, items, size=(users, HISTORY))
    _write_partitions(doors.partitions, users, items, vectors, taken, generator)
    doors.tables.migrate()
    publish(doors.tables, users, items, seed=1)
    _write_features(doors.features, users, vectors, taken)
    doors.tables.close()
    (home / "made").touch()


def publish(tables: Tables, users: int, items: int, *, seed: int) -> None:
    """Stage and publish lists for everybody under a name of their own."""
    run = RunRecord(f"run-{seed}", DAY, AS_OF, "model", "code", {}, {})
    tables.publish(run.run_id, expected=tables.stage(run, *_lists(users, items, seed)))


def user_ids(users: int) -> list[str]:
    """user-0 …"""
    return [f"user-{number}" for number in range(users)]


def item_ids(items: int) -> list[str]:
    """item-00000 …, so that they sort as they count."""
    return [f"item-{number:05d}" for number in range(items)]


def _lists(users: int, items: int, seed: int) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    generator = np.random.default_rng(seed)
    start = np.repeat(generator.integers(0, items, users), LENGTH)
    place = np.tile(np.arange(LENGTH), users)
    names = pl.Series(item_ids(items))
    lists = pl.DataFrame(
        {
            "user_id": pl.Series(user_ids(users)).gather(np.repeat(np.arange(users), LENGTH)),
            "item_id": names.gather((start + place * 37) % items),
            "rank": pl.Series(place + 1, dtype=pl.UInt32),
            "score": pl.Series(1 - place / LENGTH, dtype=pl.Float32),
        }
    ).with_columns(reasons=pl.concat_list(pl.lit("Taken by people with your taste")))
    similar = pl.DataFrame(schema={"item_id": pl.String, "similar_item_id": pl.String, **RANKED})
    popular = pl.DataFrame({"category": [""] * 50, "item_id": names.head(50), "rank": range(1, 51), "score": 1.0})
    return lists, similar, popular.cast(RANKED), _catalogue(items)


def _catalogue(items: int) -> pl.DataFrame:
    names = pl.Series("item_id", item_ids(items))
    return names.to_frame().with_columns(
        title=pl.format("Title of {}", "item_id"),
        description=pl.lit(None, pl.String),
        categories=pl.concat_list(pl.format("category {}", pl.int_range(pl.len()) % 20)),
        image=pl.lit(None, pl.String),
        audio=pl.lit(None, pl.String),
        available=True,
        published_at=pl.lit(None, pl.Datetime("us", "UTC")),
        price=1.0,
    )


def _write_partitions(
    store: PartitionStore,
    users: int,
    items: int,
    vectors: np.ndarray,
    taken: np.ndarray,
    generator: np.random.Generator,
) -> None:
    day, names = DAY.isoformat(), pl.Series("item_id", item_ids(items))
    store.write("items", day, _catalogue(items))
    counts = generator.exponential(20, items)
    store.write("item_statistics", day, names.to_frame().with_columns(popularity_decayed=pl.Series(counts)))
    text = names.to_frame().with_columns(
        pl.lit(MODEL).alias("model"), vector=pl.Series(vectors).arr.to_list(), content_hash=pl.lit("")
    )
    store.write("item_text_vectors", day, text)
    pairs = pl.DataFrame(
        {
            "user_id": pl.Series(user_ids(users)).gather(np.repeat(np.arange(users), HISTORY)),
            "item_id": names.gather(taken.ravel()),
        }
    )
    store.write("interactions", day, pairs)


def _write_features(store: FeatureStore, users: int, vectors: np.ndarray, taken: np.ndarray) -> None:
    store.apply()
    names = np.array(item_ids(len(vectors)))
    for start in range(0, users, 20_000):
        some = taken[start : start + 20_000]
        taste = vectors[some].mean(axis=1)
        taste /= np.linalg.norm(taste, axis=1, keepdims=True)
        base = pl.DataFrame({"user_id": user_ids(users)[start : start + len(some)]}).with_columns(STAMP)
        histories = base.with_columns(
            pl.Series("item_ids", names[some].tolist()),
            pl.Series("timestamps", [[int(AS_OF.timestamp()) - HISTORY + at for at in range(HISTORY)]] * len(some)),
            pl.Series("events", [["view"] * HISTORY] * len(some)),
        )
        store.write_online("user_histories", histories)
        store.write_online(
            "user_vectors", base.with_columns(model=pl.lit(MODEL), vector=pl.Series(taste).arr.to_list())
        )
        statistics = base.with_columns(
            interactions_total=HISTORY, interactions_7d=HISTORY, interactions_30d=HISTORY, items_total=HISTORY,
            mean_value=pl.lit(None, pl.Float64), days_since_first=1.0, days_since_last=0.0,
        )  # fmt: skip
        store.write_online("user_statistics", statistics)
        print(f"  {start + len(some):,} users online", file=sys.stderr)
