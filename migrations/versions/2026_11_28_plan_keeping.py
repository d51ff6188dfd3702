"""Documents apart from the columns that plans are searched by; names, pins and the trail of plans.

Revision: plan_keeping
Revises: api_access
"""

import sqlalchemy as sa
from alembic import op

revision = "plan_keeping"
down_revision = "api_access"
branch_labels = None
depends_on = None

_FOUND_BY = {
    "plans": [
        ["created_at", "id"],
        ["model_id", "created_at", "id"],
        ["runtime", "created_at", "id"],
        ["probe", "created_at", "id"],
        ["budget_kind", "created_at", "id"],
        ["budget_kind", "budget_value"],
    ],
    "plan_names": [["plan_id"], ["name"]],
    "plan_events": [["model_id", "id"], ["plan_id", "id"]],
}


def upgrade() -> None:
    """One way: an older bitplan refuses the database instead."""
    _split_documents()
    _make_names()
    _make_pins()
    _make_events()
    op.drop_index("ix_plans_model_id_created_at", table_name="plans")
    for table, indices in _FOUND_BY.items():
        for columns in indices:
            op.create_index(f"ix_{table}_{'_'.join(columns)}", table, columns)


def _split_documents() -> None:
    on_postgresql = op.get_context().dialect.name == "postgresql"
    op.create_table(
        "plan_documents",
        sa.Column("plan_id", sa.String(length=32), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_plan_documents_plan_id_plans"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("plan_id", name=op.f("pk_plan_documents")),
    )
    for column in ("probe", "rounding"):
        op.add_column("plans", sa.Column(column, sa.String(length=60), nullable=False, server_default=""))
        op.execute(f"UPDATE plans SET {column} = (SELECT {column} FROM probe_settings WHERE id = setting_id)")  # noqa: S608
    op.add_column("plans", sa.Column("budget", sa.JSON(), nullable=False, server_default="{}"))
    budget = "document->'budget'" if on_postgresql else "json_extract(document, '$.budget')"
    op.execute(f"UPDATE plans SET budget = {budget}")  # noqa: S608  (our own text)
    op.execute("INSERT INTO plan_documents (plan_id, document) SELECT id, CAST(document AS TEXT) FROM plans")
    op.drop_column("plans", "document")
    if on_postgresql:  # SQLite cannot take a default away, and no row is written without a value
        for column in ("probe", "rounding", "budget"):
            op.alter_column("plans", column, server_default=None)


def _make_names() -> None:
    op.create_table(
        "plan_names",
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("plan_id", sa.String(length=32), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.String(length=300), nullable=False),
        sa.Column("why", sa.String(length=500), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_plan_names_model_id_models")),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_plan_names_plan_id_plans")),
        sa.PrimaryKeyConstraint("model_id", "name", name=op.f("pk_plan_names")),
    )


def _make_pins() -> None:
    op.create_table(
        "plan_pins",
        sa.Column("plan_id", sa.String(length=32), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.String(length=300), nullable=False),
        sa.Column("why", sa.String(length=500), nullable=False),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_plan_pins_plan_id_plans")),
        sa.PrimaryKeyConstraint("plan_id", name=op.f("pk_plan_pins")),
    )


def _make_events() -> None:
    op.create_table(
        "plan_events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.String(length=300), nullable=False),
        sa.Column("action", sa.String(length=20), nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("plan_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("supersedes", sa.String(length=32), nullable=True),
        sa.Column("why", sa.String(length=500), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plan_events")),
        sa.UniqueConstraint("model_id", "name", "version", name=op.f("uq_plan_events_model_id_name_version")),
    )
