"""Where an item was shown: the run, the variant and the rank of an event, so that clicks can be joined to lists."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ADDED = {"run_id": sa.Text, "variant": sa.Text, "rank": sa.BigInteger}


def upgrade() -> None:
    """Add the columns; events from before have none of them."""
    for name, kind in _ADDED.items():
        op.add_column("events", sa.Column(name, kind, nullable=True))


def downgrade() -> None:
    """Impressions go: without their columns they would pass for something that users did."""
    op.execute("DELETE FROM events WHERE event = 'impression'")
    for name in reversed(_ADDED):
        op.drop_column("events", name)
