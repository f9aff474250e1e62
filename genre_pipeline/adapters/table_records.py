"""What goes into the tables and comes out of them, as data: run, expectation, publication, lists.

What belongs here: frozen records that callers hold. What does not: SQL, and anything that knows a database.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from genre_pipeline.contracts.errors import ContractError

DEFAULT_SURFACE = "default"
"""The surface where a product has one place that shows recommendations."""


@dataclass(frozen=True)
class RunRecord:
    """One computation of lists: for which day, by which model and code, decided how, measured how."""

    run_id: str
    """The name of the result. `run_id_for` derives it from what the run holds, so that equal results share a name."""
    day: date
    created_at: datetime
    model_version: str
    code_version: str
    decisions: Mapping[str, Any]
    """Splits, weights, thresholds, seeds: strict JSON."""
    metrics: Mapping[str, Any]
    """The evaluation that let the run through: strict JSON, hence no NaN."""

    def __post_init__(self) -> None:
        for name, document in (("decisions", self.decisions), ("metrics", self.metrics)):
            try:
                json.dumps(dict(document), allow_nan=False)
            except (ValueError, TypeError) as error:
                raise ContractError(
                    f"{name} of run {self.run_id!r} cannot be written as JSON: {error}",
                    remedy="Use numbers, texts, lists and mappings; leave out what is not finite.",
                ) from error

    @property
    def as_of(self) -> datetime:
        """The exclusive end of what the run knew: midnight UTC after its day."""
        return datetime.combine(self.day + timedelta(days=1), time(), UTC)


@dataclass(frozen=True)
class PublicationExpectation:
    """What the publisher believes was staged; publishing refuses when the tables hold something else."""

    users: int
    rows: int
    """Recommendations over all users."""
    fingerprint: str = ""
    """sha256 of all that was staged, as `fingerprint_of` gives it. Empty: the run's own record alone is compared."""


@dataclass(frozen=True)
class Publication:
    """What a surface shows, and, as the answer of a publish or rollback, whether that moved it there."""

    surface: str
    run_id: str
    day: date
    as_of: datetime
    published_at: datetime
    previous_run_id: str | None
    moved: bool = False
    reason: str = ""
    """Why the pointer stayed, for a reader; empty where it moved or nobody asked."""


@dataclass(frozen=True)
class ListedItem:
    """One place of a list. `rank` starts at 1."""

    item_id: str
    title: str | None
    rank: int
    score: float


@dataclass(frozen=True)
class RecommendedItem(ListedItem):
    """One recommendation, with the reasons a person can read."""

    reasons: tuple[str, ...]


@dataclass(frozen=True)
class UserRecommendations:
    """A user's published list."""

    user_id: str
    run_id: str
    as_of: datetime
    rows: tuple[RecommendedItem, ...]
    variant: str = "default"
    """The arm of an experiment that the list was made for."""


@dataclass(frozen=True)
class PublishedRow:
    """A user's published list as it is stored, for who reads one with every request: columns by rank, no titles."""

    run_id: str
    item_ids: list[str]
    scores: list[float]
    reasons: list[list[str]]
    variant: str


@dataclass(frozen=True)
class ItemList:
    """A published list that belongs to an item or a category, named by `key`."""

    key: str
    run_id: str
    as_of: datetime
    rows: tuple[ListedItem, ...]


@dataclass(frozen=True)
class TablesHealth:
    """What an operator asks first. `is_migrated` is false where the code asks for a newer schema."""

    database: str
    """The URL without its password."""
    revision: str | None
    is_migrated: bool
    publication: Publication | None


@dataclass(frozen=True)
class ApiKey:
    """A key of the service as it is kept: all but the secret."""

    key_id: str
    """The part of the key that may be seen and logged."""
    name: str
    """Whose it is."""
    sha256: str
    """Of the secret part, in hex."""
    scopes: tuple[str, ...]
    """`read`, `write`, `admin`."""
    requests_per_second: float | None
    """Its own limit; None takes the service's."""
    created_at: datetime
    revoked_at: datetime | None
