"""Devices of users, with what was measured on them.

Revision: devices
Revises: attention_heads
"""

import sqlalchemy as sa
from alembic import op

revision = "devices"
down_revision = "attention_heads"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One way: an older bitplan refuses the database instead."""
    op.create_table(
        "devices",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("latencies", sa.LargeBinary(), nullable=True),
        sa.Column("measured_entries", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_devices")),
    )
