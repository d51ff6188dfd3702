"""The trail of stored plans: who named, pinned or deleted which, when and why. Lines are added and never changed."""

from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, func, select
from sqlalchemy.orm import Session, aliased

from planner.errors import InvalidRequestError
from planner.schemas.plan_keeping import Action, EventFilters, PlanEvent, PlanEventPage
from planner.services.pagination import PAGE_LIMIT
from planner.services.planning_inputs import find_model
from planner.storage.database import Database
from planner.storage.tables import PlanEventRow, PlanRow

LOCAL = "local"
"""Who works on the database itself, without a key."""

EVERY_EVENT = EventFilters()


def record(session: Session, plan: PlanRow, action: Action, *, who: str, why: str) -> PlanEventRow:
    """Add a line about a plan, in the transaction of what it says.

    Args:
        session: a write transaction.
        plan: the plan that something is done to.
        action: what is done.
        who: name and prefix of an API key, or ``LOCAL``.
        why: the reason.
    """
    return _add(session, plan, action=action, who=who, why=why)


def record_name(
    session: Session, plan: PlanRow, name: str, action: Action, *, supersedes: str | None, who: str, why: str
) -> PlanEventRow:
    """Add the next line about a name of the plan's model.

    Raises:
        IntegrityError: another transaction added it at this moment.
    """
    newest = select(func.max(PlanEventRow.version)).where(PlanEventRow.model_id == plan.model_id, PlanEventRow.name == name)
    version = (session.scalar(newest) or 0) + 1
    return _add(session, plan, action=action, who=who, why=why, name=name, version=version, supersedes=supersedes)


def list_events(
    session: Session, filters: EventFilters = EVERY_EVENT, *, cursor: str | None = None, limit: int = 50
) -> PlanEventPage:
    """Lines of the trail, newest first: by their numbers, so a clock that jumps moves none.

    Args:
        session: where to read.
        filters: which lines.
        cursor: what the previous page gave, or ``None`` for the first.
        limit: lines of the page, at most ``PAGE_LIMIT``.

    Raises:
        NotFoundError: no such model.
        InvalidRequestError: a cursor that no page gave.
    """
    size = min(limit, PAGE_LIMIT)
    query = _with_successors().order_by(PlanEventRow.id.desc()).limit(size + 1)
    if filters.model is not None:
        query = query.where(PlanEventRow.model_id == find_model(session, filters.model).id)
    if filters.name is not None:
        query = query.where(PlanEventRow.name == filters.name)
    if filters.plan is not None:
        query = query.where(PlanEventRow.plan_id == filters.plan)
    if cursor is not None:
        query = query.where(PlanEventRow.id < _number(cursor))
    rows = session.execute(query).all()
    items = [_document(*row) for row in rows[:size]]
    return PlanEventPage(items=items, next=str(items[-1].id) if len(rows) > size else None)


def _add(session: Session, plan: PlanRow, **facts: Any) -> PlanEventRow:
    row = PlanEventRow(at=Database.of(session).now(session), model_id=plan.model_id, plan_id=plan.id, **facts)
    session.add(row)
    session.flush()
    return row


def _with_successors() -> Select[PlanEventRow, datetime, str, str]:
    """Every line, with the next one about the same name where the line gave the name."""
    following = aliased(PlanEventRow)
    return select(PlanEventRow, following.at, following.action, following.plan_id).outerjoin(
        following,
        and_(
            PlanEventRow.action == "named",
            following.model_id == PlanEventRow.model_id,
            following.name == PlanEventRow.name,
            following.version == PlanEventRow.version + 1,
        ),
    )


def _number(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 19):
        msg = "this cursor was not given by a page of this list; start again without one"
        raise InvalidRequestError(msg)
    return int(cursor)


def _document(row: PlanEventRow, ended_at: datetime | None, next_action: str | None, next_plan: str | None) -> PlanEvent:
    return PlanEvent.model_validate(
        {
            "id": row.id,
            "at": row.at,
            "who": row.who,
            "action": row.action,
            "model": row.model_id,
            "plan": row.plan_id,
            "name": row.name,
            "version": row.version,
            "supersedes": row.supersedes,
            "superseded_by": next_plan if next_action == "named" else None,
            "superseded_at": ended_at,
            "why": row.why,
        }
    )
