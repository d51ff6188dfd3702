"""Workers by their heartbeats, and the terms that jobs are run on.

Revision: workers
Revises: plan_keeping
"""

import sqlalchemy as sa
from alembic import op

revision = "workers"
down_revision = "plan_keeping"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One way: an older bitplan refuses the database instead."""
    op.add_column("jobs", sa.Column("label", sa.String(length=60), nullable=True))
    op.add_column("jobs", sa.Column("memory_bytes", sa.BigInteger(), nullable=True))
    op.add_column("jobs", sa.Column("sequential", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("jobs", sa.Column("forecast_seconds", sa.Float(precision=53), nullable=True))
    op.add_column("jobs", sa.Column("unit_seconds", sa.Float(precision=53), nullable=False, server_default="0"))
    op.drop_index("ix_units_job_id_state", table_name="units")
    op.create_index("ix_units_job_id_state_id", "units", ["job_id", "state", "id"])
    op.create_table(
        "workers",
        sa.Column("id", sa.String(length=100), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("kinds", sa.JSON(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("lease_seconds", sa.Float(precision=53), nullable=False),
        sa.Column("draining", sa.Boolean(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_index(op.f("ix_workers_last_seen"), "workers", ["last_seen"])
