"""The ledger of calls to language models, in the project's database: the table `llm_calls`.

What belongs here: writing, finding and erasing its rows. What does not: what a reply means (`generation`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from uuid import uuid4

import polars as pl
import sqlalchemy as sa

from genre_pipeline.adapters.database import Database
from genre_pipeline.adapters.table_definitions import llm_calls
from genre_pipeline.contracts.language_model import Spending
from genre_pipeline.generation.ledger import Call

_KEYS_AT_ONCE = 500
_TOKENS = llm_calls.c.input_tokens + llm_calls.c.output_tokens + llm_calls.c.assumed_tokens


def _utc_now() -> datetime:
    return datetime.now(UTC)


class CallLedger:
    """`generation.ledger.Ledger` over migrated tables. Safe to share between threads.

    Every method raises `TablesError` where the database does not answer.
    """

    def __init__(self, url: str, *, clock: Callable[[], datetime] = _utc_now) -> None:
        self._database = Database(url)
        self._clock = clock

    def replies(self, request_keys: Sequence[str]) -> Mapping[str, str]:
        """The raw reply of each key that has one: the earliest, should there be several."""
        found: dict[str, str] = {}
        with self._database.read() as connection:
            for start in range(0, len(request_keys), _KEYS_AT_ONCE):
                wanted = llm_calls.c.request_key.in_(request_keys[start : start + _KEYS_AT_ONCE])
                query = sa.select(llm_calls.c.request_key, llm_calls.c.raw_reply)
                replied = query.where(wanted, llm_calls.c.raw_reply.is_not(None))
                latest_first = replied.order_by(llm_calls.c.created_at.desc(), llm_calls.c.call_id.desc())
                found |= dict(connection.execute(latest_first).tuples().all())
        return found

    def record(self, calls: Sequence[Call]) -> None:
        """Write calls in one transaction, durable on return."""
        if not calls:
            return
        now = self._clock()
        rows = [{**asdict(call), "call_id": uuid4().hex, "created_at": now} for call in calls]
        with self._database.write() as connection:
            connection.execute(sa.insert(llm_calls), rows)

    def spending(self, day: date) -> Spending:
        """What a night's calls have come to so far."""
        with self._database.read() as connection:
            return _sum(connection, llm_calls.c.day == day)

    def taken(self, request_keys: Sequence[str]) -> Spending:
        """What all calls under these keys took, on whatever night."""
        total = Spending()
        with self._database.read() as connection:
            for start in range(0, len(request_keys), _KEYS_AT_ONCE):
                total += _sum(connection, llm_calls.c.request_key.in_(request_keys[start : start + _KEYS_AT_ONCE]))
        return total

    def calls_of(self, day: date) -> pl.DataFrame:
        """A night's rows, in the order of writing."""
        query = sa.select(llm_calls).where(llm_calls.c.day == day).order_by(llm_calls.c.created_at, llm_calls.c.call_id)
        names = [column.name for column in llm_calls.c]
        with self._database.read() as connection:
            return pl.DataFrame(connection.execute(query).tuples().all(), names, orient="row", infer_schema_length=None)

    def close(self) -> None:
        """Close every connection."""
        self._database.close()


def _sum(connection: sa.Connection, of_rows: sa.ColumnElement[bool]) -> Spending:
    columns = (llm_calls.c.attempts, _TOKENS, llm_calls.c.cost, llm_calls.c.latency_s)
    query = sa.select(*(sa.func.coalesce(sa.func.sum(column), 0) for column in columns)).where(of_rows)
    calls, tokens, cost, seconds = connection.execute(query).one()
    return Spending(int(calls), int(tokens), float(cost), float(seconds))


def erase_user(connection: sa.Connection, user_id: str) -> int:
    """Delete a user's rows; how many there were. An item of the same id keeps its own."""
    mine = sa.and_(llm_calls.c.subject == user_id, llm_calls.c.is_personal)
    return connection.execute(sa.delete(llm_calls).where(mine)).rowcount
