"""The service's own configuration, and the one rule about where it may listen."""

import ipaddress

from pydantic import Field, model_validator

from genre_pipeline.adapters.table_records import DEFAULT_SURFACE
from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.tables import MAX_ID_BYTES
from genre_pipeline.features.nearest import NearestConfig


class ServingConfig(Settings):
    """How the real-time service listens, what it takes, and how it scores."""

    host: str = "127.0.0.1"
    """Address to listen on. Only loopback is accepted as long as the service has no API keys (`genre keys create`)."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 lets the system choose."""
    surfaces: tuple[str, ...] = (DEFAULT_SURFACE,)
    """Places that show lists, each with a publication of its own, which every night moves; the first answers where none
    is asked for. With several, plain SQL names one: `WHERE surface = 'default'`."""
    k_default: int = Field(default=10, ge=1)
    """Items in a list when the caller does not say."""
    k_max: int = Field(default=100, ge=1)
    """The most items a caller may ask for."""
    candidates_published: int = Field(default=100, ge=0)
    """How many items of the published list enter real-time scoring."""
    candidates_nearest: int = Field(default=200, ge=0)
    """How many items nearest to the fresh history (the user's vector and the latest items) enter real-time scoring."""
    nearest: NearestConfig = NearestConfig(exact_below=10_000, refine=2)
    """How near items are looked for while somebody waits: an index is worth its losses in smaller catalogues too."""
    nearest_to_latest: int = Field(default=1, ge=0)
    """To how many of the latest items of a history, beside the user's vector, near items are looked for."""
    candidates_popular: int = Field(default=100, ge=0)
    """How many recently popular items enter real-time scoring; these are also what a reason calls "popular now"."""
    weight_published: float = Field(default=0.5, ge=0)
    """Blend weight of the published score, scaled to (0, 1] within the list. Weights are divided by their sum."""
    weight_vector: float = Field(default=0.4, ge=0)
    """Blend weight of the cosine between the fresh user vector and the item's vector, in [-1, 1]."""
    weight_popularity: float = Field(default=0.1, ge=0)
    """Blend weight of recent popularity: log(1 + decayed count), divided by its largest value, in [0, 1]."""
    feature_ttl_hours: float = Field(default=48.0, gt=0)
    """A user feature older than the published `as_of` by more than this is stale and not scored with."""
    reason_min_similarity: float = Field(default=0.3, ge=-1, le=1)
    """Least cosine between an item and one of the user's history for a reason to name the latter."""
    preferred_categories: int = Field(default=3, ge=1)
    """How many of the categories that a history holds most are those of the strategy `popular-in-category`."""
    score_new_items: bool = False
    """Whether `/v1/score` encodes items that no night has seen. Loads the text encoder when the service starts."""
    body_limit_bytes: int = Field(default=1_048_576, ge=1024)
    """Largest request body."""
    id_limit_bytes: int = Field(default=MAX_ID_BYTES, ge=1, le=MAX_ID_BYTES)
    """Longest user, item or event id, in UTF-8 bytes."""
    ids_max: int = Field(default=500, ge=1)
    """Most item ids in one request: to score, to leave out, or of a session."""
    deadline_seconds: float = Field(default=2.0, gt=0)
    """A request that takes longer is answered with 503; what was logged by then stays logged."""
    connections_max: int = Field(default=256, ge=1)
    """Most connections at once; further ones are answered with 503 until some have ended."""
    waiting_max: int = Field(default=64, ge=1)
    """Most requests that wait at once; further ones are answered with 503 and `Retry-After`, but for health checks."""
    waiting_scored: int = Field(default=16, ge=0)
    """From how many waiting requests on a list is the published one instead of one scored now, where the user did
    nothing since. A list scored now costs ten published ones."""
    requests_per_second: float = Field(default=100.0, gt=0)
    """What a key may ask for in the long run, where it has no limit of its own; without keys nothing is limited."""
    burst_seconds: float = Field(default=2.0, gt=0)
    """How many seconds' worth of requests a key may ask for at once."""
    keys_reload_seconds: float = Field(default=5.0, ge=0)
    """How soon, at the latest, a new or revoked key counts."""
    events_max: int = Field(default=100, ge=1, le=1000)
    """Most events in one request."""
    future_seconds: float = Field(default=300.0, ge=0)
    """How far ahead of this machine's clock an event may lie; beyond it, it is refused."""
    reload_seconds: float = Field(default=5.0, ge=0)
    """How often, at most, the publication pointer is looked at for a newer run."""
    page_history: int = Field(default=12, ge=1)
    """How many of a user's latest interactions the page shows."""

    @model_validator(mode="after")
    def _is_consistent(self) -> "ServingConfig":
        if self.k_default > self.k_max:
            raise ValueError(f"k_default {self.k_default} is above k_max {self.k_max}")
        if self.weight_published + self.weight_vector + self.weight_popularity <= 0:
            raise ValueError("weight_published, weight_vector and weight_popularity are all 0: nothing to score with")
        if not self.surfaces or len(set(self.surfaces)) != len(self.surfaces):
            raise ValueError("surfaces needs at least one name, each once")
        return self


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`. Names other than localhost are not resolved, so they are not."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def refuse_open_door(config: ServingConfig, *, has_keys: bool) -> None:
    """Raise ConfigError where the service would listen beyond this machine without keys."""
    if not has_keys and not is_loopback(config.host):
        raise ConfigError(
            "serving.host is not a loopback address, and the service has no API keys",
            remedy="Make one with `genre keys create`, or use 127.0.0.1, ::1 or localhost.",
            culprits=[config.host],
        )
