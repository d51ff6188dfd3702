"""The plans that cells of changes were measured around, and their own loss.

Revision: operating_points
Revises: router_flips
"""

import sqlalchemy as sa
from alembic import op

revision = "operating_points"
down_revision = "router_flips"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One way: an older bitplan refuses the database instead."""
    op.create_table(
        "operating_points",
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("setting_id", sa.String(length=64), nullable=False),
        sa.Column("layers", sa.JSON(), nullable=False),
        sa.Column("loss", sa.Float(precision=53), nullable=False),
        sa.Column("standard_error", sa.Float(precision=53), nullable=True),
        sa.Column("samples", sa.Float(precision=53), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=True),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_operating_points_model_id_models"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["setting_id"], ["probe_settings.id"], name=op.f("fk_operating_points_setting_id_probe_settings")
        ),
        sa.PrimaryKeyConstraint("model_id", "setting_id", name=op.f("pk_operating_points")),
    )
