"""Names of a model's plans: each is borne by one plan at a time, and every move of it is a line of the trail."""

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from planner.errors import ConflictError, InvalidRequestError, NotFoundError
from planner.schemas.plan_keeping import MoveName, PlanName, PlanNameList
from planner.services.plan_pins import lock_plan
from planner.services.plan_trail import record_name
from planner.services.planning_inputs import find_model
from planner.storage.tables import ModelRow, PlanNameRow

MOST_NAMES = 200
"""Names that one model may have at once: they are roles of plans, and are listed whole."""


def move_name(session: Session, model: str, name: str, request: MoveName, *, who: str) -> tuple[PlanName, bool]:
    """Let a name stand for a plan, whichever bore it before.

    A name that the plan bears already stays as it is, whatever the request says that it replaces: a client that did not hear
    the answer may ask again.

    Args:
        session: a write transaction.
        model: id or name of the model.
        name: the name.
        request: plan, reason, and what the name has to be on.
        who: name and prefix of an API key, or ``plan_trail.LOCAL``.

    Returns:
        The name, and whether no plan bore it before.

    Raises:
        NotFoundError: no such model or plan.
        InvalidRequestError: a plan of another model, or one name too many.
        ConflictError: the name is not where the request says, or is moved by somebody else at this moment.
    """
    owner = find_model(session, model)
    row = _lock(session, owner, name)
    plan = lock_plan(session, request.plan)
    if plan.model_id != owner.id:
        msg = f"plan {plan.id!r} is not of model {owner.name!r}: its names stand for its own plans"
        raise InvalidRequestError(msg, plan=plan.id, model=plan.model_id)
    current = None if row is None else row.plan_id
    if row is not None and current == plan.id:
        return _document(row), False
    if request.is_conditional and request.replaces != current:
        raise _moved(name, current)
    if row is None:
        _check_room(session, owner)
        row = PlanNameRow(model_id=owner.id, name=name)
    try:
        event = record_name(session, plan, name, "named", supersedes=current, who=who, why=request.why)
        row.plan_id, row.version, row.since, row.who, row.why = plan.id, event.version or 1, event.at, event.who, event.why
        session.add(row)
        session.flush()
    except IntegrityError as error:  # a row that is not there yet cannot be locked: of two that give a new name one is late
        msg = f"the name {name!r} was given by somebody else at this moment: look where it is now, and try again"
        raise ConflictError(msg, name=name) from error
    return _document(row), current is None


def remove_name(session: Session, model: str, name: str, *, replaces: str | None = None, who: str, why: str = "") -> None:
    """Take a name away from the plan that bears it.

    Args:
        session: a write transaction.
        model: id or name of the model.
        name: the name.
        replaces: plan that has to bear it now; ``None`` takes it away from whichever does.
        who: name and prefix of an API key, or ``plan_trail.LOCAL``.
        why: the reason.

    Raises:
        NotFoundError: no such model, or no plan of it bears the name.
        ConflictError: another plan bears it.
    """
    owner = find_model(session, model)
    row = _lock(session, owner, name)
    if row is None:
        raise _no_name(owner, name)
    if replaces is not None and replaces != row.plan_id:
        raise _moved(name, row.plan_id)
    record_name(session, lock_plan(session, row.plan_id), name, "unnamed", supersedes=None, who=who, why=why)
    session.delete(row)
    session.flush()


def get_name(session: Session, model: str, name: str) -> PlanName:
    """A name and the plan that bears it.

    Raises:
        NotFoundError: no such model, or no plan of it bears the name.
    """
    owner = find_model(session, model)
    row = session.get(PlanNameRow, (owner.id, name))
    if row is None:
        raise _no_name(owner, name)
    return _document(row)


def list_names(session: Session, model: str) -> PlanNameList:
    """The names of a model, in their order.

    Raises:
        NotFoundError: no such model.
    """
    query = select(PlanNameRow).where(PlanNameRow.model_id == find_model(session, model).id).order_by(PlanNameRow.name)
    return PlanNameList(items=[_document(row) for row in session.scalars(query)])


def _lock(session: Session, model: ModelRow, name: str) -> PlanNameRow | None:
    return session.get(PlanNameRow, (model.id, name), with_for_update=True)


def _check_room(session: Session, model: ModelRow) -> None:
    query = select(func.count()).select_from(PlanNameRow).where(PlanNameRow.model_id == model.id)
    if session.execute(query).scalar_one() >= MOST_NAMES:
        msg = (
            f"model {model.name!r} has {MOST_NAMES} names of plans: take one away first (bitplan plans unname, or DELETE "
            f"/v1/models/MODEL/plan-names/NAME)"
        )
        raise InvalidRequestError(msg)


def _moved(name: str, current: str | None) -> ConflictError:
    where = "no plan bears it" if current is None else f"plan {current!r} bears it"
    msg = f"the name {name!r} is not where it should be: {where}. Look at what was changed, and ask again with what it is on now"
    return ConflictError(msg, name=name, current=current)


def _no_name(model: ModelRow, name: str) -> NotFoundError:
    msg = (
        f"no plan of model {model.name!r} is called {name!r}: see bitplan plans names {model.name}, or GET "
        f"/v1/models/{model.id}/plan-names"
    )
    return NotFoundError(msg, model=model.id, name=name)


def _document(row: PlanNameRow) -> PlanName:
    return PlanName(
        model=row.model_id, name=row.name, plan=row.plan_id, version=row.version, since=row.since, who=row.who, why=row.why
    )
