"""The tables of the output side, written once for SQLite and PostgreSQL.

What belongs here: columns, keys and the types that differ by database. What does not: anything that runs a statement.
The views and the history of the schema are in `migrations/`; a test holds that both describe the same tables.

A list is one row (`item_ids` and `scores` by position, rank = position + 1), because a row for each recommendation is
seven times the bytes and a tenth of the writing speed. The views `current_*` unfold them for plain SQL.
The bulk tables have no foreign key to `runs`: checking one per row would cost more than loading it, and they are only
written in the transaction that writes the run. The pointer has one: it can never name a run that is not there.
"""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

METADATA = sa.MetaData()


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """An instant: aware datetimes in and out, UTC in the database (`timestamptz`, or ISO text in SQLite)."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """To UTC; a naive value is a programming error, for nobody knows its zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("an instant needs a time zone")
        instant = value.astimezone(UTC)
        return instant if dialect.name == "postgresql" else instant.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# Ids sort by their bytes everywhere, so that a fingerprint taken in key order is the same on both databases.
ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TEXTS = sa.JSON().with_variant(postgresql.ARRAY(sa.Text), "postgresql")
SCORES = sa.JSON().with_variant(postgresql.ARRAY(sa.REAL), "postgresql")
DOCUMENT = sa.JSON().with_variant(postgresql.JSONB, "postgresql")

runs = sa.Table(
    "runs",
    METADATA,
    sa.Column("run_id", ID, primary_key=True),
    sa.Column("day", sa.Date, nullable=False),
    sa.Column("as_of", UtcDateTime, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("model_version", sa.Text, nullable=False),
    sa.Column("code_version", sa.Text, nullable=False),
    sa.Column("decisions", DOCUMENT, nullable=False),
    sa.Column("metrics", DOCUMENT, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("users", sa.BigInteger, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("erased_rows", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("erased_users", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("staged_at", UtcDateTime, nullable=False),
    sa.Column("published_at", UtcDateTime, nullable=True),
)
"""One row a run, kept when its lists are retired: what a night decided can be read a year later."""

publication = sa.Table(
    "publication",
    METADATA,
    sa.Column("surface", ID, primary_key=True, server_default="default"),
    sa.Column("run_id", ID, sa.ForeignKey("runs.run_id"), nullable=False),
    sa.Column("day", sa.Date, nullable=False),
    sa.Column("published_at", UtcDateTime, nullable=False),
    sa.Column("previous_run_id", ID, sa.ForeignKey("runs.run_id"), nullable=True),
)
"""The pointer: which run each surface shows. Publishing changes this row and nothing that readers read."""

recommendations = sa.Table(
    "recommendations",
    METADATA,
    sa.Column("run_id", ID, primary_key=True),
    sa.Column("user_id", ID, primary_key=True),
    sa.Column("item_ids", TEXTS, nullable=False),
    sa.Column("scores", SCORES, nullable=False),
    sa.Column("reasons", sa.JSON, nullable=False),
    sa.Column("variant", sa.Text, nullable=False, server_default="default"),
)
"""One row a user. `reasons` is a list of texts for each item, ragged, hence JSON on both databases. `variant` is the
arm of an experiment that the list was made for."""

similar_items = sa.Table(
    "similar_items",
    METADATA,
    sa.Column("run_id", ID, primary_key=True),
    sa.Column("item_id", ID, primary_key=True),
    sa.Column("item_ids", TEXTS, nullable=False),
    sa.Column("scores", SCORES, nullable=False),
)
"""One row an item: its nearest items."""

popular_items = sa.Table(
    "popular_items",
    METADATA,
    sa.Column("run_id", ID, primary_key=True),
    sa.Column("category", ID, primary_key=True),
    sa.Column("item_ids", TEXTS, nullable=False),
    sa.Column("scores", SCORES, nullable=False),
)
"""One row a category; the empty category is the whole catalogue."""

catalogue = sa.Table(
    "catalogue",
    METADATA,
    sa.Column("run_id", ID, primary_key=True),
    sa.Column("item_id", ID, primary_key=True),
    sa.Column("title", sa.Text, nullable=True),
    sa.Column("categories", TEXTS, nullable=False),
    sa.Column("image", sa.Text, nullable=True),
    sa.Column("audio", sa.Text, nullable=True),
    sa.Column("available", sa.Boolean, nullable=False),
)
"""The items as the run saw them: a list is always shown with the titles it was made with."""

events = sa.Table(
    "events",
    METADATA,
    sa.Column("event_id", ID, primary_key=True),
    sa.Column("user_id", ID, nullable=False, index=True),
    sa.Column("item_id", ID, nullable=False),
    sa.Column("timestamp", UtcDateTime, nullable=False, index=True),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("value", sa.Double, nullable=True),
    sa.Column("received_at", UtcDateTime, nullable=False),
    sa.Column("run_id", sa.Text, nullable=True),
    sa.Column("variant", sa.Text, nullable=True),
    sa.Column("rank", sa.BigInteger, nullable=True),
)
"""The event log: what the service was told, once per event id. Impressions, which say what was shown, name the list."""

api_keys = sa.Table(
    "api_keys",
    METADATA,
    sa.Column("key_id", ID, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("scopes", TEXTS, nullable=False),
    sa.Column("requests_per_second", sa.Double, nullable=True),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("revoked_at", UtcDateTime, nullable=True),
)
"""Keys of the service, by the part that may be seen; of the secret only its hash is kept. Revoked ones stay."""

llm_calls = sa.Table(
    "llm_calls",
    METADATA,
    sa.Column("call_id", ID, primary_key=True),
    sa.Column("request_key", ID, nullable=False, index=True),
    sa.Column("scheme", sa.Text, nullable=False),
    sa.Column("subject", ID, nullable=False, index=True),
    sa.Column("is_personal", sa.Boolean, nullable=False),
    sa.Column("prompt_version", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("parameters", DOCUMENT, nullable=False),
    sa.Column("input_hash", sa.Text, nullable=False),
    sa.Column("raw_reply", sa.Text, nullable=True),
    sa.Column("parsed", sa.JSON(none_as_null=True), nullable=True),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    sa.Column("input_tokens", sa.BigInteger, nullable=False),
    sa.Column("output_tokens", sa.BigInteger, nullable=False),
    sa.Column("assumed_tokens", sa.BigInteger, nullable=False),
    sa.Column("cost", sa.Double, nullable=False),
    sa.Column("latency_s", sa.Double, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("day", sa.Date, nullable=False, index=True),
)
"""The ledger: one row a call that a language model was asked, written before its reply is used, never changed.

A request's rows share its `request_key`; the earliest with a `raw_reply` answers it for good. `status` is model,
repaired (the answer of a second prompt that named the first one's fault) or failed, `reason` says why.
`assumed_tokens` were never reported by the endpoint and are counted at the worst: the reply was cut off or never came.
`is_personal` marks a subject that is a user: such rows go when the user is forgotten.
"""

RUN_TABLES = (recommendations, similar_items, popular_items, catalogue)
"""Tables whose rows belong to a run and go with it."""
