"""Entities, feature views and feature services of the pipeline, as Feast reads them.

Belongs here: what a feature is called, its type, whose it is, how long it may be served, and which features a consumer
takes. Does not belong here: computing a feature (`genre_pipeline.features`), reading or writing one
(`genre_pipeline.adapters.feature_store`), or where files lie. Paths are relative to the pipeline's home and resolved by
the offline store, so the registry holds nothing that is true on one machine only.

A name here is the asset key, the table and the contract constant at once. Vectors have views of their own: the online
store hands out whole rows, and nobody should read 384 numbers to learn a count. Embeddings of the whole catalogue are
read from the partitions; Feast serves them one by one.

The time to live is what a training join may look back over, and what a scorer judges by: Feast does not apply it to
online reads. User features are snapshots of every night and expire soon; a text seldom changes and its vector lasts.
"""

from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, Project, PushSource, ValueType
from feast.types import Array, Float32, Float64, Int64, String

from genre_pipeline.contracts.columns import CONTENT_HASH, EVENT_TIMESTAMP, ITEM_ID, USER_ID, VECTOR
from genre_pipeline.contracts.names import (
    ITEM_AUDIO_VECTORS,
    ITEM_IMAGE_VECTORS,
    ITEM_STATISTICS,
    ITEM_TEXT_VECTORS,
    ITEM_VECTORS,
    SCORING_SERVICE,
    TRAINING_SERVICE,
    USER_HISTORIES,
    USER_STATISTICS,
    USER_VECTORS,
)

# A day's folder begins with a digit; one that is still being written begins with a dot and must not be read.
_PARTITIONS = "data/{view}/[0-9]*/part.parquet"
_USER_TTL = timedelta(days=30)
_ITEM_STATISTICS_TTL = timedelta(days=365)
_ITEM_VECTOR_TTL = timedelta(days=3650)


def _partitions(view: str) -> FileSource:
    return FileSource(name=view, path=_PARTITIONS.format(view=view), timestamp_field=EVENT_TIMESTAMP)


def _pushed(view: str) -> PushSource:
    """Fresh rows between two nights. Push to the online store only: the event log feeds the offline side."""
    return PushSource(name=f"{view}_push", batch_source=_partitions(view))


def _item_vectors(view: str, description: str) -> FeatureView:
    """A vector of an item, with the model and the content that it was made of."""
    return FeatureView(
        name=view,
        description=description,
        entities=[item],
        ttl=_ITEM_VECTOR_TTL,
        schema=[
            Field(name=ITEM_ID, dtype=String),
            Field(name="model", dtype=String),
            Field(name=CONTENT_HASH, dtype=String),
            Field(name=VECTOR, dtype=Array(Float32)),
        ],
        source=_partitions(view),
    )


project = Project(name="genre", description="Features of the recommendation pipeline.")

user = Entity(name="user", join_keys=[USER_ID], value_type=ValueType.STRING, description="Whoever interacts.")
item = Entity(name="item", join_keys=[ITEM_ID], value_type=ValueType.STRING, description="Whatever is recommended.")

item_text_vectors = _item_vectors(
    ITEM_TEXT_VECTORS, "Sentence embedding of an item's text; null where an item has no text."
)
item_image_vectors = _item_vectors(
    ITEM_IMAGE_VECTORS, "Vector of an item's picture; null where it has none, or one that cannot be read."
)
item_audio_vectors = _item_vectors(
    ITEM_AUDIO_VECTORS, "Vector of an item's sound; null where it has none, or one that cannot be read or heard."
)
item_vectors = _item_vectors(
    ITEM_VECTORS, "One vector of an item's text, picture and sound, in any mix; null where it has none of them."
)

item_statistics = FeatureView(
    name=ITEM_STATISTICS,
    description="How much, by how many and how recently an item was interacted with.",
    entities=[item],
    ttl=_ITEM_STATISTICS_TTL,
    schema=[
        Field(name=ITEM_ID, dtype=String),
        Field(name="interactions_total", dtype=Int64),
        Field(name="interactions_7d", dtype=Int64),
        Field(name="interactions_30d", dtype=Int64),
        Field(name="users_total", dtype=Int64),
        Field(name="mean_value", dtype=Float64),
        Field(name="popularity_decayed", dtype=Float64),
        Field(name="days_since_first", dtype=Float64),
        Field(name="days_since_last", dtype=Float64),
    ],
    source=_partitions(ITEM_STATISTICS),
)

user_statistics = FeatureView(
    name=USER_STATISTICS,
    description="How much and how recently a user interacted.",
    entities=[user],
    ttl=_USER_TTL,
    schema=[
        Field(name=USER_ID, dtype=String),
        Field(name="interactions_total", dtype=Int64),
        Field(name="interactions_7d", dtype=Int64),
        Field(name="interactions_30d", dtype=Int64),
        Field(name="items_total", dtype=Int64),
        Field(name="mean_value", dtype=Float64),
        Field(name="days_since_first", dtype=Float64),
        Field(name="days_since_last", dtype=Float64),
    ],
    source=_pushed(USER_STATISTICS),
)

user_histories = FeatureView(
    name=USER_HISTORIES,
    description="A user's last interactions, oldest first: items, unix seconds and event types.",
    entities=[user],
    ttl=_USER_TTL,
    schema=[
        Field(name=USER_ID, dtype=String),
        Field(name="item_ids", dtype=Array(String)),
        Field(name="timestamps", dtype=Array(Int64)),
        Field(name="events", dtype=Array(String)),
    ],
    source=_pushed(USER_HISTORIES),
)

user_vectors = FeatureView(
    name=USER_VECTORS,
    description="Recency-weighted mean of the vectors of a user's history, L2-normalised; null without any.",
    entities=[user],
    ttl=_USER_TTL,
    schema=[
        Field(name=USER_ID, dtype=String),
        Field(name="model", dtype=String),
        Field(name=VECTOR, dtype=Array(Float32)),
    ],
    source=_pushed(USER_VECTORS),
)

training_v1 = FeatureService(
    name=TRAINING_SERVICE,
    description="What a ranker learns from, point in time. Vectors come from the partitions, as whole matrices; which "
    "one was known is said here.",
    features=[item_statistics, user_statistics, user_histories, item_vectors[["model", CONTENT_HASH]]],
)

scoring_v1 = FeatureService(
    name=SCORING_SERVICE,
    description="What the scorer reads of a user, and of its candidates, for one answer.",
    features=[item_statistics, user_statistics, user_histories, user_vectors],
)
