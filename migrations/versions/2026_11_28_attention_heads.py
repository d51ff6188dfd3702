"""How many query and key-value heads a model has: what the exact size of a quantized KV cache depends on.

Revision: attention_heads
Revises: workers
"""

import sqlalchemy as sa
from alembic import op

revision = "attention_heads"
down_revision = "workers"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One way: an older bitplan refuses the database instead."""
    op.add_column("models", sa.Column("heads", sa.Integer(), nullable=True))
    op.add_column("models", sa.Column("kv_heads", sa.Integer(), nullable=True))
