"""The tiny world as a published night: partitions on disk, lists in memory, features online, and a service on top."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl

from genre_pipeline.adapters.partitions import PartitionStore
from genre_pipeline.contracts.tables import TIME
from genre_pipeline.features.histories import user_histories, user_vectors
from genre_pipeline.features.statistics import item_statistics, user_statistics
from genre_pipeline.recommenders.rules import RulesConfig
from genre_pipeline.serving.published import load_published_run
from genre_pipeline.serving.scoring import NewItemEncoder
from genre_pipeline.serving.service import RecommendationService
from genre_pipeline.serving.settings import ServingConfig
from tests import scenario
from tests.fakes.serving_doors import Clock, InMemoryFeatures, InMemoryTables

MODEL = "three-tastes"
DAY = scenario.LAST_DAY.isoformat()


@dataclass
class World:
    """Everything a test may look at or break."""

    service: RecommendationService
    tables: InMemoryTables
    features: InMemoryFeatures
    partitions: PartitionStore
    clock: Clock


def interactions() -> pl.DataFrame:
    """The clean interactions, by time."""
    rows = pl.DataFrame(scenario.clean_interaction_rows())
    columns = (pl.col("timestamp").str.to_datetime(time_zone="UTC", time_unit="us"), pl.col("value").cast(pl.Float64))
    return rows.with_columns(*columns).sort("timestamp", maintain_order=True)


def items() -> pl.DataFrame:
    """The catalogue in schema Items."""
    raw = scenario.raw_items().head(scenario.N_ITEMS)
    return raw.select(
        "item_id",
        "title",
        "description",
        pl.col("categories").str.split("|").fill_null([]),
        "image",
        "audio",
        pl.col("available") == "true",
        pl.col("published_at").str.slice(0, 10).str.to_datetime("%Y-%m-%d", time_unit="us", time_zone="UTC"),
        pl.col("price").cast(pl.Float64),
    )


def item_vectors() -> pl.DataFrame:
    """Three tastes on three axes, with a little of the item's own; none for the item without text."""
    matrix = np.zeros((scenario.N_ITEMS, 4), dtype=np.float32)
    for position in range(scenario.N_ITEMS):
        matrix[position, position // 8] = 1.0
        matrix[position, 3] = 0.1 * (position % 8)
    vectors: list[list[float] | None] = [row.tolist() for row in matrix]
    vectors[scenario.ITEM_IDS.index(scenario.TEXTLESS_ITEM)] = None
    frame = pl.DataFrame(
        {"item_id": scenario.ITEM_IDS, "vector": vectors},
        schema={"item_id": pl.String, "vector": pl.List(pl.Float32)},
    )
    stamp = pl.lit(scenario.AS_OF).cast(TIME).alias("event_timestamp")
    return frame.with_columns(pl.lit(MODEL).alias("model"), pl.lit("-").alias("content_hash"), stamp)


def write_partitions(root: Path) -> PartitionStore:
    """The partitions of the night of the last day."""
    store = PartitionStore(root)
    if store.has("item_statistics", DAY):
        return store
    past = interactions()
    for day in scenario.DAYS:
        store.write("interactions", day.isoformat(), past.filter(pl.col("timestamp").dt.date() == day))
    store.write("items", DAY, items())
    store.write("item_text_vectors", DAY, item_vectors())
    store.write("item_statistics", DAY, item_statistics(past, as_of=scenario.AS_OF))
    return store


def user_features() -> dict[str, pl.DataFrame]:
    """What the night writes online, by view."""
    histories = user_histories(interactions(), as_of=scenario.AS_OF)
    return {
        "user_histories": histories,
        "user_vectors": user_vectors(histories, item_vectors(), model=MODEL),
        "user_statistics": user_statistics(interactions(), as_of=scenario.AS_OF),
    }


def published_lists() -> dict[str, list[tuple[str, float]]]:
    """A list of eight unseen, available items for each user with a past, the cold item first."""
    seen = interactions().group_by("user_id").agg("item_id").rows()
    allowed = [item for item in scenario.ITEM_IDS if item != scenario.UNAVAILABLE_ITEM]
    unseen = {user: [item for item in reversed(allowed) if item not in had] for user, had in seen}
    return {user: [(item, 8.0 - rank) for rank, item in enumerate(rest[:8])] for user, rest in unseen.items()}


def build_world(
    root: Path,
    config: ServingConfig | None = None,
    *,
    is_published: bool = True,
    rules: RulesConfig | None = None,
    encoder: NewItemEncoder | None = None,
) -> World:
    """A warm service over the published night; the clock stands six hours after `as_of`."""
    partitions = write_partitions(root)
    tables, features, clock = InMemoryTables(), InMemoryFeatures(), Clock(scenario.AS_OF + timedelta(hours=6))
    if is_published:
        tables.publish("run-1", scenario.LAST_DAY, scenario.AS_OF)
        tables.lists = published_lists()
        tables.popular_lists = {"": [("i01", 3.0), ("i23", 2.0), ("i02", 1.0)], "space": [("i03", 2.0)]}
        tables.similar = {"i01": [("i02", 0.9), ("i23", 0.8), ("i04", 0.7)]}
        for view, frame in user_features().items():
            features.write_online(view, frame)
    service = RecommendationService(
        config or ServingConfig(),
        tables=tables,
        features=features,
        load_run=lambda publication: load_published_run(publication, partitions, rules=rules, model_version="model-1"),
        clock=clock,
        rules=rules,
        encoder=encoder,
    )
    service.warm_up()
    return World(service, tables, features, partitions, clock)
