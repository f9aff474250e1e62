"""The event log: what the service was told about users, each event once, durable before it is acknowledged.

What belongs here: appending and reading events. What does not: what they mean to a feature.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta

import dataframely as dy
import polars as pl
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from genre_pipeline.adapters.table_definitions import events
from genre_pipeline.contracts.columns import EVENT, EVENT_ID, RANK, RUN_ID, VALUE, VARIANT
from genre_pipeline.contracts.errors import ContractError
from genre_pipeline.contracts.names import IMPRESSION
from genre_pipeline.contracts.tables import EVENT_LOG_SCHEMA, LOGGED_SCHEMA, SHOWN_SCHEMA, TIME, Interactions

_OPTIONAL = (VALUE, *SHOWN_SCHEMA)


def event_frame(rows: pl.DataFrame | Sequence[Mapping[str, object]]) -> pl.DataFrame:
    """Events as a frame of `LOGGED_SCHEMA`; `value` and where an item was shown are null where they are not given.

    `ContractError` where a row breaks the contract of interactions, lacks an id, a column is missing, or an impression
    does not say what was shown. Of rows with one event_id the first stays.
    """
    try:
        given = rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(list(rows), schema=LOGGED_SCHEMA, orient="row")
        missing = [name for name in _OPTIONAL if name not in given.columns]
        given = given.with_columns(pl.lit(None, LOGGED_SCHEMA[name]).alias(name) for name in missing)
        frame = given.select(pl.col(name).cast(kind) for name, kind in LOGGED_SCHEMA.items())
        Interactions.validate(frame.select(Interactions.column_names()))
    except (pl.exceptions.PolarsError, TypeError, dy.exc.ValidationError) as error:
        raise ContractError(
            f"Events cannot be logged: {error}",
            remedy="Give event_id, user_id, item_id, timestamp (UTC), event and, where there is one, value.",
        ) from error
    texts = [pl.col(name) for name, kind in LOGGED_SCHEMA.items() if kind == pl.String]
    bad = frame.filter((pl.col(EVENT_ID).str.len_bytes().fill_null(0) == 0) | has_nul(texts))
    if bad.height:
        raise ContractError(
            "Events without an id, or with the character NUL in a text, cannot be logged",
            remedy="Give each event an id of its own, and text without NUL.",
            culprits=bad[EVENT_ID].to_list(),
        )
    blind = frame.filter(pl.col(EVENT) == IMPRESSION, ~_names_a_list())
    if blind.height:
        raise ContractError(
            "An impression does not say what was shown",
            remedy="Give run_id, variant and rank (from 1), as the answer has them.",
            culprits=blind[EVENT_ID].to_list(),
        )
    return frame.unique(EVENT_ID, keep="first", maintain_order=True)


def _names_a_list() -> pl.Expr:
    return pl.col(RUN_ID).is_not_null() & pl.col(VARIANT).is_not_null() & (pl.col(RANK) >= 1).fill_null(False)


def has_nul(texts: Sequence[pl.Expr]) -> pl.Expr:
    """Whether a row has a text that no database holds."""
    return pl.any_horizontal(text.str.contains("\0", literal=True).fill_null(False) for text in texts)


def append(connection: sa.Connection, frame: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Write the events whose id is not there yet; they come back, in the order given."""
    if frame.is_empty():
        return frame
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(events).on_conflict_do_nothing(index_elements=[EVENT_ID]).returning(events.c.event_id)
    written = connection.scalars(statement, frame.with_columns(received_at=pl.lit(now, TIME)).to_dicts())
    fresh = pl.Series(EVENT_ID, written.all(), dtype=pl.String)
    return frame.join(fresh.to_frame(), on=EVENT_ID, how="semi", maintain_order="left")


def of_day(connection: sa.Connection, day: date) -> pl.DataFrame:
    """`Interactions` of one UTC day, by their own timestamps, however late they arrived."""
    start = datetime.combine(day, time(), UTC)
    return _between(connection, events.c.timestamp >= start, events.c.timestamp < start + timedelta(days=1))


def since(connection: sa.Connection, start: datetime) -> pl.DataFrame:
    """`Interactions` at or after an instant."""
    return _between(connection, events.c.timestamp >= start)


def feedback(connection: sa.Connection, start: datetime, end: datetime, positive: Sequence[str]) -> pl.DataFrame:
    """Impressions, and events of the types `positive`, at or after `start` and before `end`, by time, then event id.

    `LOGGED_SCHEMA` without value.
    """
    names = [name for name in LOGGED_SCHEMA if name != VALUE]
    wanted = events.c.event.in_([IMPRESSION, *positive]), events.c.timestamp >= start, events.c.timestamp < end
    query = sa.select(*(events.c[name] for name in names)).where(*wanted)
    rows = [tuple(row) for row in connection.execute(query.order_by(events.c.timestamp, events.c.event_id))]
    return pl.DataFrame(rows, schema={name: LOGGED_SCHEMA[name] for name in names}, orient="row")


def delete_user(connection: sa.Connection, user_id: str) -> int:
    """Delete a user's events; how many there were."""
    return connection.execute(sa.delete(events).where(events.c.user_id == user_id)).rowcount


def _between(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> pl.DataFrame:
    columns = [events.c[name] for name in Interactions.column_names()]
    query = (
        sa.select(*columns)
        .where(events.c.event != IMPRESSION, *conditions)
        .order_by(events.c.timestamp, events.c.event_id)
    )
    rows = [tuple(row) for row in connection.execute(query)]
    schema = {name: kind for name, kind in EVENT_LOG_SCHEMA.items() if name != EVENT_ID}
    return Interactions.validate(pl.DataFrame(rows, schema=schema, orient="row"))
