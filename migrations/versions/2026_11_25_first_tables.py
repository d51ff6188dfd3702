"""The first tables.

Revision: first
Revises: nothing
"""

import sqlalchemy as sa
from alembic import op

revision = "first"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """One way: an older bitplan refuses the database instead."""
    _calibration_sets()
    _models()
    _jobs()
    _layers()
    _probe_settings()
    _measured_formats()
    _plans()
    _units()
    _cells()
    _evaluations()


def _calibration_sets() -> None:
    op.create_table(
        "calibration_sets",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("sequences", sa.Integer(), nullable=False),
        sa.Column("sequence_length", sa.Integer(), nullable=False),
        sa.Column("held_out_sequences", sa.Integer(), nullable=False),
        sa.Column("held_out_length", sa.Integer(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("characters", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calibration_sets")),
    )


def _models() -> None:
    op.create_table(
        "models",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("revision", sa.String(length=100), nullable=True),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("architecture", sa.String(length=100), nullable=False),
        sa.Column("dtype", sa.String(length=20), nullable=False),
        sa.Column("blocks", sa.Integer(), nullable=False),
        sa.Column("parameters", sa.BigInteger(), nullable=False),
        sa.Column("unquantized_bytes", sa.BigInteger(), nullable=False),
        sa.Column("kv_elements_per_token", sa.BigInteger(), nullable=False),
        sa.Column("vocab_size", sa.Integer(), nullable=False),
        sa.Column("context_length", sa.Integer(), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
    )
    op.create_index("ix_models_created_at", "models", ["created_at"])
    op.create_index("ix_models_name", "models", ["name"])


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=30), nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("total", sa.Integer(), nullable=True),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(length=100), nullable=True),
        sa.Column("lease_token", sa.String(length=32), nullable=True),
        sa.Column("lease_until", _TIME, nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("started_at", _TIME, nullable=True),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_jobs_model_id_models"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index("ix_jobs_model_id", "jobs", ["model_id"])
    op.create_index("ix_jobs_state_created_at", "jobs", ["state", "created_at"])


def _layers() -> None:
    op.create_table(
        "layers",
        sa.Column("id", _ID, nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column("kind", sa.String(length=60), nullable=False),
        sa.Column("block", sa.Integer(), nullable=True),
        sa.Column("expert", sa.Integer(), nullable=True),
        sa.Column("out_features", sa.Integer(), nullable=False),
        sa.Column("in_features", sa.Integer(), nullable=False),
        sa.Column("active_fraction", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_layers_model_id_models"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_layers")),
        sa.UniqueConstraint("model_id", "name", name=op.f("uq_layers_model_id_name")),
        sa.UniqueConstraint("model_id", "position", name=op.f("uq_layers_model_id_position")),
    )


def _probe_settings() -> None:
    op.create_table(
        "probe_settings",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("probe", sa.String(length=60), nullable=False),
        sa.Column("code_version", sa.Integer(), nullable=False),
        sa.Column("rounding", sa.String(length=60), nullable=False),
        sa.Column("rounding_version", sa.Integer(), nullable=False),
        sa.Column("calibration_id", sa.String(length=64), nullable=True),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("in_nats", sa.Boolean(), nullable=False),
        sa.Column("additive", sa.Boolean(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["calibration_id"], ["calibration_sets.id"], name=op.f("fk_probe_settings_calibration_id_calibration_sets")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_probe_settings")),
    )
    op.create_index("ix_probe_settings_probe", "probe_settings", ["probe"])


def _measured_formats() -> None:
    op.create_table(
        "measured_formats",
        sa.Column("id", _ID, nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("setting_id", sa.String(length=64), nullable=False),
        sa.Column("format", sa.String(length=60), nullable=False),
        sa.Column("format_identity", sa.String(length=64), nullable=False),
        sa.Column("measured_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_measured_formats_model_id_models"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["setting_id"], ["probe_settings.id"], name=op.f("fk_measured_formats_setting_id_probe_settings")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_measured_formats")),
        sa.UniqueConstraint(
            "model_id", "setting_id", "format_identity", name=op.f("uq_measured_formats_model_id_setting_id_format_identity")
        ),
    )
    op.create_index("ix_measured_formats_setting_id", "measured_formats", ["setting_id"])


def _plans() -> None:
    op.create_table(
        "plans",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("setting_id", sa.String(length=64), nullable=False),
        sa.Column("runtime", sa.String(length=40), nullable=False),
        sa.Column("solver", sa.String(length=40), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("budget_kind", sa.String(length=30), nullable=False),
        sa.Column("budget_value", sa.Float(precision=53), nullable=False),
        sa.Column("size_bits", sa.BigInteger(), nullable=False),
        sa.Column("file_bytes", sa.BigInteger(), nullable=False),
        sa.Column("effective_bits", sa.Float(precision=53), nullable=False),
        sa.Column("predicted_loss", sa.Float(precision=53), nullable=False),
        sa.Column("gap", sa.Float(precision=53), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_plans_model_id_models"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["setting_id"], ["probe_settings.id"], name=op.f("fk_plans_setting_id_probe_settings")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plans")),
    )
    op.create_index("ix_plans_model_id_created_at", "plans", ["model_id", "created_at"])


def _units() -> None:
    op.create_table(
        "units",
        sa.Column("id", _ID, nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=100), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(length=100), nullable=True),
        sa.Column("lease_token", sa.String(length=32), nullable=True),
        sa.Column("lease_until", _TIME, nullable=True),
        sa.Column("result", sa.LargeBinary(), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_units_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_units")),
        sa.UniqueConstraint("job_id", "key", name=op.f("uq_units_job_id_key")),
    )
    op.create_index("ix_units_job_id_state", "units", ["job_id", "state"])


def _cells() -> None:
    op.create_table(
        "cells",
        sa.Column("measured_format_id", _ID, nullable=False),
        sa.Column("layer_id", _ID, nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("loss", sa.Float(precision=53), nullable=True),
        sa.Column("standard_error", sa.Float(precision=53), nullable=True),
        sa.Column("samples", sa.Float(precision=53), nullable=False),
        sa.Column("total", sa.Float(precision=53), nullable=True),
        sa.Column("total_squares", sa.Float(precision=53), nullable=True),
        sa.Column("job_id", sa.String(length=32), nullable=True),
        sa.Column("measured_at", _TIME, nullable=False),
        sa.CheckConstraint("(status = 'measured') = (loss IS NOT NULL)", name=op.f("ck_cells_loss_iff_measured")),
        sa.ForeignKeyConstraint(["layer_id"], ["layers.id"], name=op.f("fk_cells_layer_id_layers"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["measured_format_id"],
            ["measured_formats.id"],
            name=op.f("fk_cells_measured_format_id_measured_formats"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("measured_format_id", "layer_id", name=op.f("pk_cells")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_cells_layer_id", "cells", ["layer_id"])


def _evaluations() -> None:
    op.create_table(
        "evaluations",
        sa.Column("id", _ID, nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("plan_id", sa.String(length=32), nullable=True),
        sa.Column("calibration_id", sa.String(length=64), nullable=False),
        sa.Column("label", sa.String(length=100), nullable=False),
        sa.Column("size_bits", sa.BigInteger(), nullable=False),
        sa.Column("effective_bits", sa.Float(precision=53), nullable=False),
        sa.Column("kl", sa.Float(precision=53), nullable=False),
        sa.Column("kl_error", sa.Float(precision=53), nullable=True),
        sa.Column("perplexity", sa.Float(precision=53), nullable=False),
        sa.Column("perplexity_error", sa.Float(precision=53), nullable=True),
        sa.Column("reference_perplexity", sa.Float(precision=53), nullable=False),
        sa.Column("reference_perplexity_error", sa.Float(precision=53), nullable=True),
        sa.Column("top1_agreement", sa.Float(precision=53), nullable=False),
        sa.Column("top1_error", sa.Float(precision=53), nullable=True),
        sa.Column("sequences", sa.Integer(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["calibration_id"], ["calibration_sets.id"], name=op.f("fk_evaluations_calibration_id_calibration_sets")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_evaluations_job_id_jobs"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_evaluations_model_id_models"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_evaluations_plan_id_plans"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluations")),
        sa.UniqueConstraint("job_id", "label", name=op.f("uq_evaluations_job_id_label")),
    )
    op.create_index("ix_evaluations_model_id", "evaluations", ["model_id"])
    op.create_index("ix_evaluations_plan_id", "evaluations", ["plan_id"])
