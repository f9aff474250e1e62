"""The ledger of what language models were asked and what they answered.

Types are written out here, not imported from today's definitions: a revision says what it made, whatever came later.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_DOCUMENT = sa.JSON().with_variant(postgresql.JSONB, "postgresql")


def upgrade() -> None:
    """Make the table and its indexes."""
    op.create_table(
        "llm_calls",
        sa.Column("call_id", _ID, primary_key=True),
        sa.Column("request_key", _ID, nullable=False),
        sa.Column("scheme", sa.Text, nullable=False),
        sa.Column("subject", _ID, nullable=False),
        sa.Column("is_personal", sa.Boolean, nullable=False),
        sa.Column("prompt_version", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("parameters", _DOCUMENT, nullable=False),
        sa.Column("input_hash", sa.Text, nullable=False),
        sa.Column("raw_reply", sa.Text, nullable=True),
        sa.Column("parsed", sa.JSON, nullable=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("assumed_tokens", sa.BigInteger, nullable=False),
        sa.Column("cost", sa.Double, nullable=False),
        sa.Column("latency_s", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("day", sa.Date, nullable=False),
    )
    for column in ("request_key", "subject", "day"):
        op.create_index(f"ix_llm_calls_{column}", "llm_calls", [column])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("llm_calls")
