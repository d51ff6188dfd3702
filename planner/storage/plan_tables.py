"""The tables of plans: what they are searched by, what they say, and what they were chosen from."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import BigInteger, Float, LargeBinary, String, Text

from planner.storage.columns import Base, utc_now


class PlanRow(Base):
    """What a stored plan is searched by, and what lists say of it; immutable. The whole plan is in ``PlanDocumentRow``.

    Documents are long: a page of a list must not read them. ``budget`` is the request's, as REST shows it; ``budget_value`` is
    rounded beyond 2^53.
    """

    __tablename__ = "plans"
    __table_args__ = (
        Index("ix_plans_created_at_id", "created_at", "id"),
        Index("ix_plans_model_id_created_at_id", "model_id", "created_at", "id"),
        Index("ix_plans_runtime_created_at_id", "runtime", "created_at", "id"),
        Index("ix_plans_probe_created_at_id", "probe", "created_at", "id"),
        Index("ix_plans_budget_kind_created_at_id", "budget_kind", "created_at", "id"),
        Index("ix_plans_budget_kind_budget_value", "budget_kind", "budget_value"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"))
    setting_id: Mapped[str] = mapped_column(ForeignKey("probe_settings.id"))
    probe: Mapped[str] = mapped_column(String(60))
    rounding: Mapped[str] = mapped_column(String(60))
    runtime: Mapped[str] = mapped_column(String(40))
    solver: Mapped[str] = mapped_column(String(40))
    status: Mapped[str] = mapped_column(String(20))
    budget: Mapped[dict[str, Any]]
    budget_kind: Mapped[str] = mapped_column(String(30))
    budget_value: Mapped[float] = mapped_column(Float(53))
    size_bits: Mapped[int] = mapped_column(BigInteger)
    file_bytes: Mapped[int] = mapped_column(BigInteger)
    effective_bits: Mapped[float] = mapped_column(Float(53))
    predicted_loss: Mapped[float] = mapped_column(Float(53))
    gap: Mapped[float] = mapped_column(Float(53))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class PlanDocumentRow(Base):
    """A stored plan: the JSON that REST answers, but for what it chose of a sheet (``PlanChoicesRow``) where it has one."""

    __tablename__ = "plan_documents"

    plan_id: Mapped[str] = mapped_column(ForeignKey("plans.id", ondelete="CASCADE"), primary_key=True)
    document: Mapped[str] = mapped_column(Text)


class PlanSheetRow(Base):
    """What plans of one question are chosen from: layers, groups, sizes and losses. It goes with its last plan."""

    __tablename__ = "plan_sheets"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), index=True)
    sheet: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class PlanChoicesRow(Base):
    """What a plan chose of its sheet. Plans that were stored whole, as all were before there were sheets, have none."""

    __tablename__ = "plan_choices"

    plan_id: Mapped[str] = mapped_column(ForeignKey("plans.id", ondelete="CASCADE"), primary_key=True)
    sheet_id: Mapped[str] = mapped_column(ForeignKey("plan_sheets.id", ondelete="CASCADE"), index=True)
    chosen: Mapped[bytes] = mapped_column(LargeBinary)
