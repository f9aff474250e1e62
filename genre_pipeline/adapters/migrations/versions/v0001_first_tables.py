"""Runs, the publication pointer, lists, catalogue, event log, and the views that unfold what is current.

Types are written out here, not imported from today's definitions: a revision says what it made, whatever came later.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_TEXTS = sa.JSON().with_variant(postgresql.ARRAY(sa.Text), "postgresql")
_SCORES = sa.JSON().with_variant(postgresql.ARRAY(sa.REAL), "postgresql")
_DOCUMENT = sa.JSON().with_variant(postgresql.JSONB, "postgresql")
_INSTANT = sa.DateTime(timezone=True)

_TABLES = ("events", "catalogue", "popular_items", "similar_items", "recommendations", "publication", "runs")

VIEWS_POSTGRESQL = (
    """
        CREATE VIEW current_recommendations AS
        SELECT r.user_id, listed.position::integer AS rank, listed.item_id, c.title, listed.score,
               r.reasons -> (listed.position::integer - 1) AS reasons, r.run_id, n.as_of, p.surface
        FROM publication p
        JOIN runs n ON n.run_id = p.run_id
        JOIN recommendations r ON r.run_id = p.run_id
        CROSS JOIN LATERAL unnest(r.item_ids, r.scores) WITH ORDINALITY AS listed (item_id, score, position)
        LEFT JOIN catalogue c ON c.run_id = r.run_id AND c.item_id = listed.item_id
    """,
    """
        CREATE VIEW current_similar_items AS
        SELECT r.item_id, listed.position::integer AS rank, listed.item_id AS similar_item_id, c.title, listed.score,
               r.run_id, n.as_of, p.surface
        FROM publication p
        JOIN runs n ON n.run_id = p.run_id
        JOIN similar_items r ON r.run_id = p.run_id
        CROSS JOIN LATERAL unnest(r.item_ids, r.scores) WITH ORDINALITY AS listed (item_id, score, position)
        LEFT JOIN catalogue c ON c.run_id = r.run_id AND c.item_id = listed.item_id
    """,
    """
        CREATE VIEW current_popular_items AS
        SELECT r.category, listed.position::integer AS rank, listed.item_id, c.title, listed.score,
               r.run_id, n.as_of, p.surface
        FROM publication p
        JOIN runs n ON n.run_id = p.run_id
        JOIN popular_items r ON r.run_id = p.run_id
        CROSS JOIN LATERAL unnest(r.item_ids, r.scores) WITH ORDINALITY AS listed (item_id, score, position)
        LEFT JOIN catalogue c ON c.run_id = r.run_id AND c.item_id = listed.item_id
    """,
)

VIEWS_SQLITE = (
    """
        CREATE VIEW current_recommendations AS
        SELECT r.user_id, listed.key + 1 AS rank, listed.value AS item_id, c.title,
               json_extract(r.scores, '$[' || listed.key || ']') AS score,
               json_extract(r.reasons, '$[' || listed.key || ']') AS reasons, r.run_id, n.as_of, p.surface
        FROM publication p
        JOIN runs n ON n.run_id = p.run_id
        JOIN recommendations r ON r.run_id = p.run_id
        JOIN json_each(r.item_ids) AS listed
        LEFT JOIN catalogue c ON c.run_id = r.run_id AND c.item_id = listed.value
    """,
    """
        CREATE VIEW current_similar_items AS
        SELECT r.item_id, listed.key + 1 AS rank, listed.value AS similar_item_id, c.title,
               json_extract(r.scores, '$[' || listed.key || ']') AS score, r.run_id, n.as_of, p.surface
        FROM publication p
        JOIN runs n ON n.run_id = p.run_id
        JOIN similar_items r ON r.run_id = p.run_id
        JOIN json_each(r.item_ids) AS listed
        LEFT JOIN catalogue c ON c.run_id = r.run_id AND c.item_id = listed.value
    """,
    """
        CREATE VIEW current_popular_items AS
        SELECT r.category, listed.key + 1 AS rank, listed.value AS item_id, c.title,
               json_extract(r.scores, '$[' || listed.key || ']') AS score, r.run_id, n.as_of, p.surface
        FROM publication p
        JOIN runs n ON n.run_id = p.run_id
        JOIN popular_items r ON r.run_id = p.run_id
        JOIN json_each(r.item_ids) AS listed
        LEFT JOIN catalogue c ON c.run_id = r.run_id AND c.item_id = listed.value
    """,
)


def upgrade() -> None:
    """Make the tables, then the views."""
    _create_runs()
    _create_publication()
    _create_lists("recommendations", "user_id", sa.Column("reasons", sa.JSON(), nullable=False))
    _create_lists("similar_items", "item_id")
    _create_lists("popular_items", "category")
    _create_catalogue()
    _create_events()
    for statement in VIEWS_POSTGRESQL if op.get_bind().dialect.name == "postgresql" else VIEWS_SQLITE:
        op.execute(statement)


def downgrade() -> None:
    """Drop the views, then the tables."""
    op.execute("DROP VIEW current_recommendations")
    op.execute("DROP VIEW current_similar_items")
    op.execute("DROP VIEW current_popular_items")
    for name in _TABLES:
        op.drop_table(name)


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("run_id", _ID, primary_key=True),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("as_of", _INSTANT, nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("code_version", sa.Text, nullable=False),
        sa.Column("decisions", _DOCUMENT, nullable=False),
        sa.Column("metrics", _DOCUMENT, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("users", sa.BigInteger, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("erased_rows", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("erased_users", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("staged_at", _INSTANT, nullable=False),
        sa.Column("published_at", _INSTANT, nullable=True),
    )


def _create_publication() -> None:
    op.create_table(
        "publication",
        sa.Column("surface", _ID, primary_key=True, server_default="default"),
        sa.Column("run_id", _ID, sa.ForeignKey("runs.run_id"), nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("published_at", _INSTANT, nullable=False),
        sa.Column("previous_run_id", _ID, sa.ForeignKey("runs.run_id"), nullable=True),
    )


def _create_lists(name: str, key: str, *more: sa.Column[object]) -> None:
    op.create_table(
        name,
        sa.Column("run_id", _ID, primary_key=True),
        sa.Column(key, _ID, primary_key=True),
        sa.Column("item_ids", _TEXTS, nullable=False),
        sa.Column("scores", _SCORES, nullable=False),
        *more,
    )


def _create_catalogue() -> None:
    op.create_table(
        "catalogue",
        sa.Column("run_id", _ID, primary_key=True),
        sa.Column("item_id", _ID, primary_key=True),
        sa.Column("title", sa.Text, nullable=True),
        sa.Column("categories", _TEXTS, nullable=False),
        sa.Column("image", sa.Text, nullable=True),
        sa.Column("audio", sa.Text, nullable=True),
        sa.Column("available", sa.Boolean, nullable=False),
    )


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("event_id", _ID, primary_key=True),
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("item_id", _ID, nullable=False),
        sa.Column("timestamp", _INSTANT, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("value", sa.Double, nullable=True),
        sa.Column("received_at", _INSTANT, nullable=False),
    )
    op.create_index("ix_events_user_id", "events", ["user_id"])
    op.create_index("ix_events_timestamp", "events", ["timestamp"])
