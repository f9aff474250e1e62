"""The variant of each list, in the table and in the view, and the keys of the service.

Types are written out here, not imported from today's definitions: a revision says what it made, whatever came later.
The view before is that of revision 0001, which says it and never changes either.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from genre_pipeline.adapters.migrations.versions.v0001_first_tables import VIEWS_POSTGRESQL, VIEWS_SQLITE

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_TEXTS = sa.JSON().with_variant(postgresql.ARRAY(sa.Text), "postgresql")
_INSTANT = sa.DateTime(timezone=True)

_VIEW_POSTGRESQL = """
        CREATE VIEW current_recommendations AS
        SELECT r.user_id, listed.position::integer AS rank, listed.item_id, c.title, listed.score,
               r.reasons -> (listed.position::integer - 1) AS reasons, r.run_id, n.as_of, p.surface, r.variant
        FROM publication p
        JOIN runs n ON n.run_id = p.run_id
        JOIN recommendations r ON r.run_id = p.run_id
        CROSS JOIN LATERAL unnest(r.item_ids, r.scores) WITH ORDINALITY AS listed (item_id, score, position)
        LEFT JOIN catalogue c ON c.run_id = r.run_id AND c.item_id = listed.item_id
    """
_VIEW_SQLITE = """
        CREATE VIEW current_recommendations AS
        SELECT r.user_id, listed.key + 1 AS rank, listed.value AS item_id, c.title,
               json_extract(r.scores, '$[' || listed.key || ']') AS score,
               json_extract(r.reasons, '$[' || listed.key || ']') AS reasons, r.run_id, n.as_of, p.surface, r.variant
        FROM publication p
        JOIN runs n ON n.run_id = p.run_id
        JOIN recommendations r ON r.run_id = p.run_id
        JOIN json_each(r.item_ids) AS listed
        LEFT JOIN catalogue c ON c.run_id = r.run_id AND c.item_id = listed.value
    """


def upgrade() -> None:
    """Add the column, make the view anew, make the table of keys."""
    op.execute("DROP VIEW current_recommendations")
    op.add_column("recommendations", sa.Column("variant", sa.Text, nullable=False, server_default="default"))
    op.execute(_VIEW_POSTGRESQL if _is_postgresql() else _VIEW_SQLITE)
    op.create_table(
        "api_keys",
        sa.Column("key_id", _ID, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("scopes", _TEXTS, nullable=False),
        sa.Column("requests_per_second", sa.Double, nullable=True),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("revoked_at", _INSTANT, nullable=True),
    )


def downgrade() -> None:
    """Back to a table and a view without variants, and no keys."""
    op.drop_table("api_keys")
    op.execute("DROP VIEW current_recommendations")
    op.drop_column("recommendations", "variant")
    op.execute((VIEWS_POSTGRESQL if _is_postgresql() else VIEWS_SQLITE)[0])


def _is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"
