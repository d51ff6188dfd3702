"""What was measured of a model's plans, and of uniform formats beside them, at the size of their files."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from planner.services.planning_inputs import find_model
from planner.storage.tables import EvaluationRow, PlanRow

PLAN: Final = "plan"
MOST: Final = 400
"""Evaluations that are read: the newest ones."""


@dataclass(frozen=True, slots=True)
class MeasuredPlan:
    """An assignment that was measured on held-out text.

    Attributes:
        label: ``plan`` or ``uniform INT4_G64``.
        plan: id of the plan, or of the one that the uniform format was measured beside.
        runtime: whose packing counts its bytes.
        effective_bits: stored bits of the planned layers ÷ their weights.
        file_bytes: of the files of weights, as the plan counted them.
        kl: nats per token, to the unquantized model.
        kl_error: standard error over sequences; ``None`` where one sequence cannot tell.
        predicted: loss that the plan was made with, in nats per token or relative; ``None`` for a uniform format.
        calibration: whose held-out text.
        sequences: of it.
        measured_at: when.
    """

    label: str
    plan: str
    runtime: str
    effective_bits: float
    file_bytes: int
    kl: float
    kl_error: float | None
    predicted: float | None
    calibration: str
    sequences: int
    measured_at: datetime


def measured_plans(session: Session, model: str) -> list[MeasuredPlan]:
    """The newest evaluation of each plan, and of each uniform format of each size; newest first.

    Raises:
        NotFoundError: no such model.
    """
    query = (
        select(EvaluationRow, PlanRow)
        .join(PlanRow, PlanRow.id == EvaluationRow.plan_id)
        .where(EvaluationRow.model_id == find_model(session, model).id)
        .order_by(EvaluationRow.created_at.desc(), EvaluationRow.id.desc())
        .limit(MOST)
    )
    return _newest([_measured(*row) for row in session.execute(query)])


def _measured(row: EvaluationRow, plan: PlanRow) -> MeasuredPlan:
    is_plan = row.label == PLAN
    layers, planned = -(-row.size_bits // 8), -(-plan.size_bits // 8)
    return MeasuredPlan(
        label=row.label,
        plan=plan.id,
        runtime=plan.runtime,
        effective_bits=row.effective_bits,
        file_bytes=plan.file_bytes - planned + layers,
        kl=row.kl,
        kl_error=row.kl_error,
        predicted=plan.predicted_loss if is_plan else None,
        calibration=row.calibration_id,
        sequences=row.sequences,
        measured_at=row.created_at,
    )


def _newest(found: Sequence[MeasuredPlan]) -> list[MeasuredPlan]:
    kept: dict[tuple[object, ...], MeasuredPlan] = {}
    for one in found:
        kept.setdefault((one.plan,) if one.label == PLAN else (one.label, one.file_bytes), one)
    return list(kept.values())
