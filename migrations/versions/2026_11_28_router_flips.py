"""How often an evaluated assignment makes the routers of a mixture choose other experts.

Revision: router_flips
Revises: layer_drifts
"""

import sqlalchemy as sa
from alembic import op

revision = "router_flips"
down_revision = "layer_drifts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One way: an older bitplan refuses the database instead."""
    op.add_column("evaluations", sa.Column("router_flips", sa.Float(precision=53), nullable=True))
    op.add_column("evaluations", sa.Column("router_flips_error", sa.Float(precision=53), nullable=True))
