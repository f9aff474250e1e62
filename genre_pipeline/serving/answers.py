"""What goes over the wire: requests and answers, each with an example for the OpenAPI page."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Strategy = Literal["real-time", "published", "popular"]


class ErrorAnswer(BaseModel):
    """The body of every answer that is not 2xx."""

    error: str = Field(examples=["NotPublishedError"])
    problem: str = Field(examples=["Nothing has been published yet"])
    remedy: str = Field(examples=["Run the nightly job: `genre run`."])


class Part(BaseModel):
    """What each source gave to the score; the parts add up to it."""

    published: float = 0.0
    vector: float = 0.0
    popularity: float = 0.0


class RecommendedItem(BaseModel):
    """One line of a list."""

    item_id: str = Field(examples=["50"])
    title: str = Field(examples=["Star Wars (1977)"])
    rank: int = Field(ge=1, examples=[1])
    score: float = Field(examples=[0.83])
    reasons: list[str] = Field(examples=[["because you rated Empire Strikes Back, The (1980)", "in your nightly list"]])
    parts: Part


class Provenance(BaseModel):
    """Which published run an answer rests on, and how old it is."""

    run_id: str = Field(examples=["1998-04-22-3f1c"])
    as_of: datetime = Field(examples=["1998-04-23T00:00:00Z"])
    age_seconds: float = Field(description="Seconds since `as_of` by the server's clock.", examples=[21600.0])
    degraded: list[str] = Field(description="Why this is not the best answer; empty when it is.", examples=[[]])


class RecommendationsAnswer(Provenance):
    """A user's list, scored now where fresh features allow it."""

    user_id: str = Field(examples=["196"])
    strategy: Strategy = Field(examples=["real-time"])
    recommendations: list[RecommendedItem]


class ListedItem(BaseModel):
    """One item of a list that is the same for everybody."""

    item_id: str = Field(examples=["172"])
    title: str = Field(examples=["Empire Strikes Back, The (1980)"])
    rank: int = Field(ge=1, examples=[1])
    score: float = Field(examples=[0.91])


class ItemsAnswer(Provenance):
    """Similar or popular items."""

    items: list[ListedItem]


class Event(BaseModel):
    """Something a user did with an item."""

    model_config = ConfigDict(extra="forbid")

    event_id: str | None = Field(
        default=None,
        description="Your id of this event; a second event with the same id is a duplicate. Left out, it is derived "
        "from the content, so that the same event with the same timestamp counts once.",
        examples=["7d1f0c4e"],
    )
    user_id: str = Field(examples=["196"])
    item_id: str = Field(examples=["50"])
    timestamp: datetime | None = Field(
        default=None,
        description="When it happened: ISO 8601 (UTC where no offset is given) or unix seconds. Left out: now, and "
        "then only `event_id` can tell a replay from a second event.",
        examples=["2026-01-31T12:00:00Z"],
    )
    event: str = Field(default="view", min_length=1, max_length=64, examples=["view"])
    value: float | None = Field(default=None, allow_inf_nan=False, examples=[None])


class EventBatch(BaseModel):
    """Events to record."""

    model_config = ConfigDict(extra="forbid")

    events: list[Event] = Field(min_length=1)


class EventsAnswer(BaseModel):
    """What became of a batch. Accepted events are on disk before this is sent."""

    accepted: int = Field(examples=[1])
    duplicates: int = Field(examples=[0])
    unknown_items: list[str] = Field(
        description="Items the published catalogue does not have. Their events are kept and count as seen; they move "
        "no vector until a night knows the item.",
        examples=[[]],
    )
    degraded: list[str] = Field(
        description="Why the next answer may not reflect these events; they are on disk all the same.", examples=[[]]
    )


class ReadyAnswer(BaseModel):
    """Whether each thing the service needs answered."""

    ready: bool
    checks: dict[str, str] = Field(examples=[{"tables": "ok", "online_store": "ok", "item_matrix": "ok"}])
