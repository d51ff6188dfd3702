"""Parameters that are of no layer, and the bytes of a tokenizer in GGUF: what the exact size of a new file depends on.

Revision: file_facts
Revises: devices
"""

import sqlalchemy as sa
from alembic import op

revision = "file_facts"
down_revision = "devices"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One way: an older bitplan refuses the database instead."""
    op.add_column("models", sa.Column("rest", sa.JSON(), nullable=True))
    op.add_column("models", sa.Column("tokenizer_bytes", sa.BigInteger(), nullable=True))
