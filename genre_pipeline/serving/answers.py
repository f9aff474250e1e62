"""What goes over the wire: requests and answers, each with an example for the OpenAPI page."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from genre_pipeline.contracts.errors import NotPublishedError
from genre_pipeline.serving.choosing import Scored
from genre_pipeline.serving.ladder import Strategy
from genre_pipeline.serving.published import PublishedRun


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
    freshness: float = 0.0

    @classmethod
    def of(cls, given: Sequence[float]) -> Self:
        """From a column of `Scored.parts`."""
        published, vector, popularity, freshness = given
        return cls(published=published, vector=vector, popularity=popularity, freshness=freshness)


class RecommendedItem(BaseModel):
    """One line of a list."""

    item_id: str = Field(examples=["50"])
    title: str = Field(examples=["Star Wars (1977)"])
    rank: int = Field(ge=1, examples=[1])
    score: float = Field(examples=[0.83])
    reasons: list[str] = Field(examples=[["because you rated Empire Strikes Back, The (1980)", "in your nightly list"]])
    parts: Part


def lines_of(run: PublishedRun, chosen: Scored) -> list[RecommendedItem]:
    """The lines of a list. Raises NotPublishedError for an empty one: no list is empty with a 200."""
    if not len(chosen):
        raise NotPublishedError(
            "No item of the published catalogue may be recommended",
            remedy="Check `rules`, and `available` and `published_at` in the items table, then run the nightly job.",
        )
    values = zip(
        chosen.positions.tolist(), chosen.scores.tolist(), chosen.parts.T.tolist(), chosen.reasons, strict=True
    )
    return [
        RecommendedItem(
            item_id=run.item_ids[at],
            title=run.titles[at],
            rank=rank,
            score=score,
            reasons=reasons,
            parts=Part.of(parts),
        )
        for rank, (at, score, parts, reasons) in enumerate(values, start=1)
    ]


class Provenance(BaseModel):
    """Which published run an answer rests on, how old it is, and how the answer was made."""

    run_id: str = Field(examples=["1998-04-22-3f1c"])
    model_version: str = Field(
        description="The model that made the run's lists.", examples=["sequence_model 1998-04-22 5f0c9a"]
    )
    surface: str = Field(description="The place whose publication this is.", examples=["default"])
    as_of: datetime = Field(examples=["1998-04-23T00:00:00Z"])
    age_seconds: float = Field(description="Seconds since `as_of` by the server's clock.", examples=[21600.0])
    strategy: Strategy = Field(description="What was used in the end.", examples=["real-time"])
    variant: str = Field(description="The arm of an experiment; `default` where there is none.", examples=["default"])
    degraded: list[str] = Field(description="Why this is not the best answer; empty when it is.", examples=[[]])


class RecommendationsAnswer(Provenance):
    """A user's list, scored now where fresh features allow it."""

    user_id: str = Field(examples=["196"])
    recommendations: list[RecommendedItem]


class SessionAnswer(Provenance):
    """The list of a session that nobody is known to stand behind."""

    unknown_items: list[str] = Field(
        description="Items of the session that the catalogue does not have.", examples=[[]]
    )
    recommendations: list[RecommendedItem]


class ItemsAnswer(Provenance):
    """Similar or popular items."""

    items: list[RecommendedItem]


class ScoredItem(BaseModel):
    """How well one candidate fits."""

    item_id: str = Field(examples=["50"])
    score: float = Field(examples=[0.83])
    is_new: bool = Field(description="Given with its texts, and encoded for this answer.", examples=[False])
    reasons: list[str] = Field(examples=[["close to what you have been looking at"]])
    parts: Part


class ScoreAnswer(Provenance):
    """Candidates by score, best first. What may be shown is not asked: no rule and no past holds an item back."""

    user_id: str | None = Field(examples=["196"])
    scores: list[ScoredItem]
    unscored: list[str] = Field(description="Candidates that could not be scored; `degraded` says why.", examples=[[]])


class ForgottenAnswer(BaseModel):
    """What was deleted of a user."""

    deleted: dict[str, int] = Field(
        description="Rows by table, online rows as `online_features`.",
        examples=[{"recommendations": 2, "events": 14, "llm_calls": 0, "online_features": 3}],
    )
    remains: list[str] = Field(
        description="Where traces stay until they are rewritten.", examples=[["partitions: data of past days"]]
    )


ItemId = Annotated[str, Field(examples=["50"])]


class SessionEvent(BaseModel):
    """Something done in a session."""

    model_config = ConfigDict(extra="forbid")

    item_id: ItemId
    event: str = Field(default="view", min_length=1, max_length=64, examples=["view"])


class SessionRequest(BaseModel):
    """What happened in a session, and what list is wanted."""

    model_config = ConfigDict(extra="forbid")

    events: list[SessionEvent] = Field(description="Oldest first.", examples=[[{"item_id": "50", "event": "view"}]])
    k: int | None = Field(default=None, ge=1, examples=[10])
    categories: list[str] = Field(default=[], examples=[["Comedy"]])
    exclude: list[str] = Field(default=[], examples=[["172"]])
    available_only: bool | None = Field(default=None, description="Left out: as the rules say.")
    surface: str | None = Field(default=None, examples=["default"])


class NewItem(BaseModel):
    """An item that no night has seen, with the columns that its text is made of."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, str | float | bool | list[str] | None] = Field(init=False)

    item_id: ItemId
    title: str | None = Field(default=None, max_length=2000, examples=["The Matrix (1999)"])
    description: str | None = Field(default=None, max_length=20_000, examples=[None])
    categories: list[str] = Field(default=[], examples=[["Action", "Sci-Fi"]])


class ScoreRequest(BaseModel):
    """Candidates to score for somebody."""

    model_config = ConfigDict(extra="forbid")

    user_id: str | None = Field(default=None, description="Left out: for nobody in particular.", examples=["196"])
    item_ids: list[ItemId] = Field(default=[], description="Candidates of the catalogue.", examples=[["50", "172"]])
    items: list[NewItem] = Field(default=[], description="Candidates that are new.")
    surface: str | None = Field(default=None, examples=["default"])


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
    event: str = Field(
        default="view",
        min_length=1,
        max_length=64,
        description="What the user did. `impression` says that the item was shown, and needs run_id, variant and rank.",
        examples=["view"],
    )
    value: float | None = Field(default=None, allow_inf_nan=False, examples=[None])
    run_id: str | None = Field(default=None, description="The answer's, of an item that was shown.", examples=[None])
    variant: str | None = Field(default=None, description="The answer's.", examples=[None])
    rank: int | None = Field(default=None, ge=1, le=100_000, description="The item's in the answer.", examples=[None])


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
