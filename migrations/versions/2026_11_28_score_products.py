"""Score products beside the cells of a measured format.

Revision: score_products
Revises: first
"""

import sqlalchemy as sa
from alembic import op

revision = "score_products"
down_revision = "first"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One way: an older bitplan refuses the database instead."""
    op.create_table(
        "score_products",
        sa.Column("measured_format_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sequences", sa.Integer(), nullable=False),
        sa.Column("draws", sa.Integer(), nullable=False),
        sa.Column("products", sa.LargeBinary(), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=True),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["measured_format_id"],
            ["measured_formats.id"],
            name=op.f("fk_score_products_measured_format_id_measured_formats"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("measured_format_id", name=op.f("pk_score_products")),
    )
