"""What plans of one question share is stored once; plans that are there stay whole. Units are found by when they were finished.

Revision: plan_sheets
Revises: job_summaries
"""

import sqlalchemy as sa
from alembic import op

revision = "plan_sheets"
down_revision = "job_summaries"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One way: an older bitplan refuses the database instead."""
    op.create_table(
        "plan_sheets",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("model_id", sa.String(64), nullable=False),
        sa.Column("sheet", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_plan_sheets_model_id_models", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_plan_sheets"),
    )
    op.create_index("ix_plan_sheets_model_id", "plan_sheets", ["model_id"])
    op.create_table(
        "plan_choices",
        sa.Column("plan_id", sa.String(32), nullable=False),
        sa.Column("sheet_id", sa.String(32), nullable=False),
        sa.Column("chosen", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name="fk_plan_choices_plan_id_plans", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["sheet_id"], ["plan_sheets.id"], name="fk_plan_choices_sheet_id_plan_sheets", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("plan_id", name="pk_plan_choices"),
    )
    op.create_index("ix_plan_choices_sheet_id", "plan_choices", ["sheet_id"])
    op.create_index("ix_units_job_id_state_finished_at", "units", ["job_id", "state", "finished_at"])
