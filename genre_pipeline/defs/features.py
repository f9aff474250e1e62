"""Features of items and users as of each day, under the names that Feast knows them by, and their way online."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import dataframely as dy
import polars as pl

from genre_pipeline.adapters.partitions import Manifest
from genre_pipeline.contracts.columns import EVENT_TIMESTAMP, TIMESTAMP
from genre_pipeline.contracts.names import (
    INTERACTIONS,
    ITEM_AUDIO_VECTORS,
    ITEM_BAG_OF_WORDS,
    ITEM_IMAGE_VECTORS,
    ITEM_STATISTICS,
    ITEM_TEXT_CAUSAL,
    ITEM_TEXT_VECTORS,
    ITEM_TEXT_WEIGHTED,
    ITEM_TEXTS,
    ITEM_TFIDF,
    ITEM_VECTORS,
    ITEMS,
    TRAINING_FEATURES,
    TRAINING_SERVICE,
    USER_HISTORIES,
    USER_STATISTICS,
    USER_VECTORS,
)
from genre_pipeline.contracts.tables import TIME, ItemTexts, ItemVectors
from genre_pipeline.defs.materialise import Result, daily_asset, keeps_contract, passed, picture, result
from genre_pipeline.defs.shape import CONFIG, MADE_VECTORS, USER_SPACE, VECTOR_TABLES
from genre_pipeline.features.extraction import FUSED, Technique, extract, extract_sparse
from genre_pipeline.features.histories import user_histories as histories_of
from genre_pipeline.features.histories import user_vectors as vectors_of
from genre_pipeline.features.item_texts import compose_item_texts
from genre_pipeline.features.statistics import item_statistics as statistics_of_items
from genre_pipeline.features.statistics import user_statistics as statistics_of_users
from genre_pipeline.offline.looks import neighbours_markdown, neighbours_of, plane_of, text_augmentation_table
from genre_pipeline.project import Project, as_of

GROUP = "features"
_OF_ITEMS = (ITEM_TEXT_VECTORS, ITEM_IMAGE_VECTORS, ITEM_AUDIO_VECTORS, ITEM_VECTORS)
ONLINE_VIEWS = (
    *(table for table in _OF_ITEMS if table in {VECTOR_TABLES[name] for name in MADE_VECTORS}),
    ITEM_STATISTICS, USER_STATISTICS, USER_HISTORIES, USER_VECTORS,
)  # fmt: skip
"""The views that a night brings online; a modality that is switched off has nothing to bring."""


@daily_asset(
    group=GROUP,
    same_day=[ITEMS],
    checks=["keeps_its_contract"],
)
def item_texts(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """The text that models read of each item: the configured columns, composed. Null where there is none."""
    items, fields = project.partitions.read(ITEMS, context.partition_key), project.config.features.item_texts
    frame = compose_item_texts(items, fields)
    manifest = project.partitions.write(ITEM_TEXTS, context.partition_key, frame)
    return result(
        frame,
        manifest,
        checks=[keeps_contract(ITEM_TEXTS, frame, ItemTexts)],
        augmentation=dg.MetadataValue.md(text_augmentation_table(items, fields, project.config)),
    )


@daily_asset(
    group=GROUP,
    same_day=[ITEM_TEXTS],
)
def item_bag_of_words(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """Word counts of each item's text over a learned vocabulary, sparse."""
    return _sparse(context, project, ITEM_BAG_OF_WORDS, "text_bag_of_words")


@daily_asset(
    group=GROUP,
    same_day=[ITEM_TEXTS],
)
def item_tfidf(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """TF-IDF of each item's text, sparse: smoothed, or the article's TF / DF by configuration."""
    return _sparse(context, project, ITEM_TFIDF, "text_tfidf")


@daily_asset(
    group=GROUP,
    same_day=[ITEMS, ITEM_TEXTS],
    checks=["keeps_its_contract"],
)
def item_text_weighted(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """Embedding ⊙ TF-IDF: a pretrained model's token embeddings, weighted by TF-IDF, pooled to one vector."""
    return _dense(context, project, ITEM_TEXT_WEIGHTED, "text_weighted")


@daily_asset(
    group=GROUP,
    same_day=[ITEMS, ITEM_TEXTS],
    checks=["keeps_its_contract"],
    pool="gpu",
)
def item_text_vectors(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """Sentence embeddings of a pretrained encoder. Only texts never seen by this model are encoded."""
    return _dense(context, project, ITEM_TEXT_VECTORS, "text_llm")


@daily_asset(
    group=GROUP,
    same_day=[ITEMS, ITEM_TEXTS],
    checks=["keeps_its_contract"],
    pool="gpu",
)
def item_text_causal(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """Sentence embeddings of a causal language model. Only texts never seen by this model are encoded."""
    return _dense(context, project, ITEM_TEXT_CAUSAL, "text_causal")


@daily_asset(
    group=GROUP,
    all_days=[INTERACTIONS],
    checks=["know_no_future"],
)
def item_statistics(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """How much, by how many and how recently each item was interacted with, as of the day's end."""
    return _as_of_day(
        context,
        project,
        ITEM_STATISTICS,
        lambda past, **at: statistics_of_items(past, config=project.config.features.statistics, **at),
    )


@daily_asset(
    group=GROUP,
    all_days=[INTERACTIONS],
    checks=["know_no_future"],
)
def user_statistics(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """How much and how recently each user interacted, as of the day's end."""
    return _as_of_day(context, project, USER_STATISTICS, statistics_of_users)


@daily_asset(
    group=GROUP,
    all_days=[INTERACTIONS],
    checks=["know_no_future"],
)
def user_histories(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """Each user's last interactions, oldest first, as of the day's end."""
    return _as_of_day(
        context,
        project,
        USER_HISTORIES,
        lambda past, **at: histories_of(past, config=project.config.features.histories, **at),
    )


@daily_asset(
    group=GROUP,
    same_day=[USER_HISTORIES, USER_SPACE],
)
def user_vectors(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """Recency-weighted mean of the vectors of each user's history: where a user stands among the items, in the space
    that `recommenders.content.vectors` names.
    """
    day = context.partition_key
    items = project.partitions.read(USER_SPACE, day)
    model = str(items["model"].first())
    config = project.config.features.histories
    frame = vectors_of(project.partitions.read(USER_HISTORIES, day), items, model=model, config=config)
    manifest = project.partitions.write(USER_VECTORS, day, frame, decisions={"model": model, "items": USER_SPACE})
    return result(frame, manifest, without_vector=frame["vector"].null_count())


@daily_asset(
    group=GROUP,
    same_day=[INTERACTIONS],
    day_before=[ITEM_STATISTICS, USER_STATISTICS, USER_HISTORIES, *([ITEM_VECTORS] if FUSED in MADE_VECTORS else [])],
    checks=["know_no_future"],
)
def training_features(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """The day's interactions with the features that were known just before each: point in time, by Feast. Reads the
    features as of the day before; empty of features where that day was never computed. Of vectors it holds the name,
    model and content hash, by which a trainer finds them in that day's partition.
    """
    day = context.partition_key
    labels = project.partitions.read(INTERACTIONS, day).rename({TIMESTAMP: EVENT_TIMESTAMP})
    project.features.apply()
    frame = project.features.historical(labels, TRAINING_SERVICE)
    manifest = project.partitions.write(TRAINING_FEATURES, day, frame)
    known = [name for name in frame.columns if name.endswith(f"__{EVENT_TIMESTAMP}")]
    leaks = frame.filter(pl.any_horizontal(pl.col(name) > pl.col(EVENT_TIMESTAMP) for name in known)).height
    check = passed(TRAINING_FEATURES, "know_no_future", leaks == 0, rows_with_a_later_feature=leaks)
    return result(frame, manifest, checks=[check], rows_without_features=frame[known[0]].null_count() if known else 0)


@daily_asset(
    group=GROUP,
    same_day=ONLINE_VIEWS,
    checks=["equal_the_offline_latest"],
    pool="online_store",
)
def online_features(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """The day's features in Feast's online store, for real-time scoring. A fresher row there stays."""
    moment = as_of(context.partition_key)
    project.features.apply()
    written = project.features.materialise(ONLINE_VIEWS, moment, moment)
    frame = pl.DataFrame({"view": list(written), "rows": list(written.values())})
    stale = {view: _stale_rows(project, view, context.partition_key) for view in ONLINE_VIEWS}
    check = passed(
        "online_features", "equal_the_offline_latest", not any(stale.values()), rows_behind=dg.MetadataValue.json(stale)
    )
    return result(frame, checks=[check])


def _stale_rows(project: Project, view: str, day: str) -> int:
    """How many of a sample of entities are older online than the partition says."""
    offline = project.partitions.read(view, day).head(200)
    key = offline.columns[0]
    online = project.features.online(view, offline[key].to_list())
    behind = online[EVENT_TIMESTAMP].is_null() | (online[EVENT_TIMESTAMP] < offline[EVENT_TIMESTAMP])
    return int(behind.sum())


def _as_of_day(
    context: dg.AssetExecutionContext, project: Project, name: str, compute: Callable[..., pl.DataFrame]
) -> Result:
    day = context.partition_key
    past = project.partitions.scan(INTERACTIONS, until=day)
    frame = compute(past, as_of=as_of(day))
    manifest = project.partitions.write(name, day, frame)
    newest = past.select(pl.col(TIMESTAMP).max()).collect().item()
    check = passed(name, "know_no_future", newest is None or newest < as_of(day), newest_event=str(newest))
    return result(frame, manifest, checks=[check])


def _dense(context: dg.AssetExecutionContext, project: Project, name: str, technique: Technique) -> Result:
    texts = ItemTexts.validate(project.partitions.read(ITEM_TEXTS, context.partition_key))
    done = extract(technique, texts, project.config.features, project.vectors, _told(context))
    manifest = write_vectors(project, name, context.partition_key, done.vectors)
    check: dy.DataFrame[ItemVectors] = done.vectors
    return result(
        dated(check, context.partition_key),
        manifest,
        checks=[keeps_contract(name, check, ItemVectors)],
        **seen(project, context.partition_key, name, check),
        **{key: value for key, value in vars(done.counts).items() if isinstance(value, int)},
        corrupt_cache_segments=", ".join(done.counts.corrupt_segments) or "none",
    )


def _sparse(context: dg.AssetExecutionContext, project: Project, name: str, technique: Technique) -> Result:
    texts = ItemTexts.validate(project.partitions.read(ITEM_TEXTS, context.partition_key))
    frame = extract_sparse(technique, texts, project.config.features)
    manifest = write_vectors(project, name, context.partition_key, frame)
    return result(dated(frame, context.partition_key), manifest, without_words=frame["indices"].null_count())


def write_vectors(
    project: Project,
    name: str,
    day: str,
    frame: pl.DataFrame,
    *,
    companions: Callable[[Path], None] | None = None,
    **decisions: Any,
) -> Manifest:
    """Keep a table of vectors with the time they are valid from and the model that made them."""
    told = {"model": frame["model"].first(), **decisions}
    return project.partitions.write(name, day, dated(frame, day), decisions=told, companions=companions)


def seen(project: Project, day: str, name: str, vectors: pl.DataFrame) -> dict[str, Any]:
    """What vectors look like, for an asset's metadata: who is near whom, and all of them on a plane."""
    items = project.partitions.read(ITEMS, day)
    plane = plane_of(items, vectors, name)
    on_plane = {"plane": picture(plane, "Two principal directions, by first category.")} if plane else {}
    return {"neighbours": dg.MetadataValue.md(neighbours_markdown(neighbours_of(items, vectors))), **on_plane}


def dated(frame: pl.DataFrame, day: str) -> pl.DataFrame:
    """With the time from which the features are valid: the end of the day, exclusive."""
    return frame.with_columns(pl.lit(as_of(day)).cast(TIME).alias(EVENT_TIMESTAMP))


def _told(context: dg.AssetExecutionContext) -> Callable[[str, int, int], None]:
    def told(technique: str, done: int, total: int) -> None:
        context.log.info(f"{technique}: {done:,} of {total:,} texts")

    return told


_OF_TECHNIQUE = {
    "text_bag_of_words": item_bag_of_words,
    "text_tfidf": item_tfidf,
    "text_weighted": item_text_weighted,
    "text_llm": item_text_vectors,
    "text_causal": item_text_causal,
}
ASSETS: list[Any] = [
    item_texts, *(_OF_TECHNIQUE[technique] for technique in CONFIG.features.techniques), item_statistics,
    user_statistics, user_histories, user_vectors, training_features, online_features,
]  # fmt: skip
