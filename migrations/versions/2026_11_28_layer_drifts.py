"""How far layers moved since another checkpoint, and which cells were taken over from it.

Revision: layer_drifts
Revises: score_products
"""

import sqlalchemy as sa
from alembic import op

revision = "layer_drifts"
down_revision = "score_products"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One way: an older bitplan refuses the database instead."""
    op.create_table(
        "layer_drifts",
        sa.Column("layer_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("reference_id", sa.String(length=64), nullable=False),
        sa.Column("change", sa.Float(precision=53), nullable=True),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["layer_id"], ["layers.id"], name=op.f("fk_layer_drifts_layer_id_layers"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("layer_id", "reference_id", name=op.f("pk_layer_drifts")),
    )
    op.add_column("cells", sa.Column("drift", sa.Float(precision=53), nullable=True))
