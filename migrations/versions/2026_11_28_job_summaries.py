"""The short parts of what jobs were told to do, apart from tables of tens of thousands of layers.

Revision: job_summaries
Revises: file_facts
"""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "job_summaries"
down_revision = "file_facts"
branch_labels = None
depends_on = None

_LONGEST = 4_000
_JOBS = sa.table("jobs", sa.column("id", sa.String()), sa.column("payload", sa.JSON()), sa.column("summary", sa.JSON()))


def upgrade() -> None:
    """One way: an older bitplan refuses the database instead."""
    op.add_column("jobs", sa.Column("summary", sa.JSON(), nullable=False, server_default="{}"))
    connection = op.get_bind()
    for job in connection.scalars(sa.select(_JOBS.c.id)).all():
        payload = connection.scalar(sa.select(_JOBS.c.payload).where(_JOBS.c.id == job))
        connection.execute(sa.update(_JOBS).where(_JOBS.c.id == job).values(summary=_summary(payload or {})))
    if op.get_context().dialect.name == "postgresql":  # SQLite cannot take a default away, and no row is written without a value
        op.alter_column("jobs", "summary", server_default=None)


def _summary(payload: dict[str, Any]) -> dict[str, Any]:
    long = {
        name: len(value)
        for name, value in payload.items()
        if isinstance(value, dict | list) and len(json.dumps(value)) > _LONGEST
    }
    return {name: value for name, value in payload.items() if name not in long} | ({"left_out": long} if long else {})
