"""Pinned plans, and the end of plans: one that is pinned or bears a name is not deleted."""

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from planner.errors import ConflictError, NotFoundError
from planner.schemas.plan_keeping import PinRequest, PlanPin
from planner.services.plan_trail import record
from planner.services.plans import no_plan
from planner.storage.plan_sheets import forget_unused_sheet
from planner.storage.tables import PlanChoicesRow, PlanNameRow, PlanPinRow, PlanRow


def lock_plan(session: Session, plan_id: str) -> PlanRow:
    """A stored plan, which nobody else names, pins or deletes before the transaction ends.

    Raises:
        NotFoundError: no such plan.
    """
    row = session.get(PlanRow, plan_id, with_for_update=True)
    if row is None:
        raise no_plan(plan_id)
    return row


def pin_plan(session: Session, plan_id: str, request: PinRequest, *, who: str) -> PlanPin:
    """Keep a plan from being deleted. A plan that is pinned already keeps its pin as it is.

    Args:
        session: a write transaction.
        plan_id: the plan.
        request: the reason.
        who: name and prefix of an API key, or ``plan_trail.LOCAL``.

    Raises:
        NotFoundError: no such plan.
    """
    plan = lock_plan(session, plan_id)
    row = session.get(PlanPinRow, plan_id)
    if row is None:
        event = record(session, plan, "pinned", who=who, why=request.why)
        row = PlanPinRow(plan_id=plan_id, since=event.at, who=event.who, why=event.why)
        session.add(row)
        session.flush()
    return _document(row)


def unpin_plan(session: Session, plan_id: str, *, who: str, why: str = "") -> None:
    """Let a plan be deleted again.

    Raises:
        NotFoundError: no such plan, or it is not pinned.
    """
    plan = lock_plan(session, plan_id)
    row = _pin(session, plan_id)
    record(session, plan, "unpinned", who=who, why=why)
    session.delete(row)


def get_pin(session: Session, plan_id: str) -> PlanPin:
    """Since when a plan is pinned, by whom and why.

    Raises:
        NotFoundError: no such plan, or it is not pinned.
    """
    return _document(_pin(session, plan_id))


def delete_plan(session: Session, plan_id: str, *, who: str, why: str = "") -> None:
    """Forget a plan with its evaluations; the trail keeps what was done to it.

    Raises:
        NotFoundError: no such plan.
        ConflictError: it is pinned, or bears a name.
    """
    plan = lock_plan(session, plan_id)
    names = list(session.scalars(select(PlanNameRow.name).where(PlanNameRow.plan_id == plan_id).order_by(PlanNameRow.name)))
    pinned = session.get(PlanPinRow, plan_id) is not None
    if names or pinned:
        why_not = [*(["is pinned"] if pinned else []), *([f"is called {', '.join(names)}"] if names else [])]
        msg = f"plan {plan_id!r} {' and '.join(why_not)}: unpin it, and give its names to other plans or take them away"
        raise ConflictError(msg, plan=plan_id, names=names, pinned=pinned)
    record(session, plan, "deleted", who=who, why=why)
    sheet = session.scalar(select(PlanChoicesRow.sheet_id).where(PlanChoicesRow.plan_id == plan_id))
    session.execute(delete(PlanRow).where(PlanRow.id == plan_id))
    if sheet is not None:
        forget_unused_sheet(session, sheet)


def refuse_kept_plans(session: Session, model_id: str) -> None:
    """Check that no plan of a model is pinned or bears a name.

    Raises:
        ConflictError: some are.
    """
    queries = [
        select(PlanRow.id).join(kept, kept.plan_id == PlanRow.id).where(PlanRow.model_id == model_id)
        for kept in (PlanNameRow, PlanPinRow)
    ]
    kept_plans = sorted({plan for query in queries for plan in session.scalars(query)})
    if kept_plans:
        msg = f"{len(kept_plans)} plans of the model are pinned or bear names: unpin them, and take their names away first"
        raise ConflictError(msg, plans=kept_plans[:20])


def _pin(session: Session, plan_id: str) -> PlanPinRow:
    row = session.get(PlanPinRow, plan_id)
    if row is None:
        msg = f"no plan {plan_id!r} is pinned: see bitplan plans list --pinned, or GET /v1/plans?pinned=true"
        raise NotFoundError(msg, plan=plan_id)
    return row


def _document(row: PlanPinRow) -> PlanPin:
    return PlanPin(plan=row.plan_id, since=row.since, who=row.who, why=row.why)
