"""Limits on what comes in from outside, as pure checks: ids, batches of events, list lengths."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import polars as pl

from genre_pipeline.contracts.columns import EVENT, EVENT_ID, ITEM_ID, RUN_ID, USER_ID, VARIANT
from genre_pipeline.contracts.errors import RequestError
from genre_pipeline.contracts.names import IMPRESSION
from genre_pipeline.contracts.tables import EARLIEST_YEAR, LATEST_YEAR, LOGGED_SCHEMA
from genre_pipeline.serving.answers import Event
from genre_pipeline.serving.ladder import Ask, Strategy
from genre_pipeline.serving.settings import ServingConfig


def checked_id(name: str, value: str, limit_bytes: int) -> str:
    """An id as it may reach a store: not empty, no NUL, valid Unicode, within `limit_bytes`. Raises RequestError."""
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise _bad_id(name, "is not valid Unicode") from error
    if not size:
        raise _bad_id(name, "is empty")
    if "\0" in value:
        raise _bad_id(name, "holds a NUL character")
    if size > limit_bytes:
        raise _bad_id(name, f"has {size} bytes, more than {limit_bytes}")
    return value


def checked_k(k: int | None, config: ServingConfig) -> int:
    """How many items to answer with. Raises RequestError outside 1 to `k_max`."""
    if k is None:
        return config.k_default
    if not 1 <= k <= config.k_max:
        raise RequestError("k is out of range", remedy=f"Ask for 1 to {config.k_max} items.", culprits=[k])
    return k


def checked_ids(name: str, values: Sequence[str], config: ServingConfig) -> tuple[str, ...]:
    """Ids or names of one request, each once, in their order. Raises RequestError, also where there are too many."""
    if len(values) > config.ids_max:
        raise RequestError(f"{name} names {len(values)}", remedy=f"Name at most {config.ids_max} in one request.")
    return tuple(dict.fromkeys(checked_id(name, value, config.id_limit_bytes) for value in values))


def checked_surface(surface: str | None, config: ServingConfig) -> str:
    """A surface that is served; the first where none is asked for. Raises RequestError."""
    if surface is None:
        return config.surfaces[0]
    if surface not in config.surfaces:
        raise RequestError("This surface is not served", remedy=f"Served are: {', '.join(config.surfaces)}.")
    return surface


def checked_ask(
    config: ServingConfig,
    *,
    k: int | None = None,
    strategy: Strategy = "real-time",
    categories: Sequence[str] = (),
    exclude: Sequence[str] = (),
    available_only: bool | None = None,
) -> Ask:
    """What is wanted of a list. Raises RequestError for what breaks a limit."""
    return Ask(
        k=checked_k(k, config),
        strategy=strategy,
        categories=checked_ids("categories", categories, config),
        exclude=checked_ids("exclude", exclude, config),
        available_only=available_only,
    )


def checked_events(events: list[Event], now: datetime, config: ServingConfig) -> pl.DataFrame:
    """Events as rows of the event log, in their order; ids filled in, times in UTC. Raises RequestError."""
    if len(events) > config.events_max:
        raise RequestError(
            f"A batch has {len(events)} events", remedy=f"Send at most {config.events_max} in one request."
        )
    rows = [_row(event, now, config) for event in events]
    return pl.DataFrame(rows, schema=LOGGED_SCHEMA, orient="row")


def _row(event: Event, now: datetime, config: ServingConfig) -> tuple[object, ...]:
    user_id = checked_id(USER_ID, event.user_id, config.id_limit_bytes)
    item_id = checked_id(ITEM_ID, event.item_id, config.id_limit_bytes)
    name = checked_id(EVENT, event.event, config.id_limit_bytes)
    time = _checked_time(event.timestamp, now, config)
    shown = _shown(event, config)
    content = [user_id, item_id, time.isoformat(), name, event.value, *([] if shown == (None, None, None) else shown)]
    event_id = event.event_id if event.event_id is not None else _derived_id(content)
    return checked_id(EVENT_ID, event_id, config.id_limit_bytes), user_id, item_id, time, name, event.value, *shown


def _shown(event: Event, config: ServingConfig) -> tuple[str | None, str | None, int | None]:
    """Which list, and where in it."""
    shown = event.run_id, event.variant, event.rank
    if event.event == IMPRESSION and None in shown:
        raise RequestError(
            "An impression does not say what was shown",
            remedy="Send run_id and variant of the answer, and the item's rank in it.",
        )
    for name, text in ((RUN_ID, event.run_id), (VARIANT, event.variant)):
        if text is not None:
            checked_id(name, text, config.id_limit_bytes)
    return shown


def _checked_time(time: datetime | None, now: datetime, config: ServingConfig) -> datetime:
    if time is None:
        return now
    # A year at either end of what Python knows cannot be converted to UTC.
    is_near = EARLIEST_YEAR <= time.year <= LATEST_YEAR
    aware = time.replace(tzinfo=UTC) if time.tzinfo is None or not is_near else time.astimezone(UTC)
    if not is_near or aware.year < EARLIEST_YEAR:
        raise RequestError(
            "An event's timestamp is out of range", remedy="Send ISO 8601 or unix seconds.", culprits=[time.isoformat()]
        )
    if aware > now + timedelta(seconds=config.future_seconds):
        raise RequestError(
            "An event lies in the future",
            remedy=f"Check the sender's clock; up to {config.future_seconds:g} seconds ahead are accepted.",
            culprits=[aware.isoformat()],
        )
    return aware


def _derived_id(content: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _bad_id(name: str, fault: str) -> RequestError:
    return RequestError(f"{name} {fault}", remedy="Send the id as it stands in your interactions or items table.")
