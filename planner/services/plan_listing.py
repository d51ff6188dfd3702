"""Stored plans by what they are found by, without their documents.

Every filter enters an index: a page costs its own length and, where filters are combined, the rows that one of them leaves and
another one takes away. ``budget_min`` and ``budget_max`` may read the plans of their range before they are put into order.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from planner.schemas.plan_keeping import PlanFilters, PlanPage, StoredPlan
from planner.schemas.plans import BudgetSpec, PlanDocument, PlanSummary
from planner.services.pagination import page
from planner.services.planning_inputs import find_model
from planner.storage.tables import PlanNameRow, PlanPinRow, PlanRow

EVERY_PLAN = PlanFilters()


def list_plans(session: Session, filters: PlanFilters = EVERY_PLAN, *, cursor: str | None = None, limit: int = 50) -> PlanPage:
    """Stored plans, newest first.

    Args:
        session: where to read.
        filters: which plans.
        cursor: what the previous page gave, or ``None`` for the first.
        limit: plans of the page.

    Raises:
        NotFoundError: no such model.
        InvalidRequestError: a cursor that no page gave.
    """
    query = _by_keeping(_by_facts(session, select(PlanRow), filters), filters)
    rows, following = page(session, query, key=(PlanRow.created_at, PlanRow.id), cursor=cursor, limit=limit)
    found = [row[0] for row in rows]
    names, pinned = _names(session, found), _pinned(session, found)
    return PlanPage(items=[_stored_plan(row, names.get(row.id, []), row.id in pinned) for row in found], next=following)


def summary_of(document: PlanDocument) -> PlanSummary:
    """What lists say of a plan."""
    return PlanSummary(
        id=document.id,
        model=document.model,
        runtime=document.runtime,
        probe=document.predicted.probe,
        rounding=document.provenance.rounding,
        budget=document.budget,
        status=document.proof.status,
        effective_bits=document.size.effective_bits,
        file_bytes=document.size.file_bytes,
        predicted_loss=document.predicted.loss,
        gap=document.proof.gap,
        created_at=document.created_at,
    )


def _by_facts(session: Session, query: Select[Any], filters: PlanFilters) -> Select[Any]:
    conditions = []
    if filters.model is not None:
        conditions.append(PlanRow.model_id == find_model(session, filters.model).id)
    if filters.runtime is not None:
        conditions.append(PlanRow.runtime == filters.runtime)
    if filters.probe is not None:
        conditions.append(PlanRow.probe == filters.probe)
    if filters.budget_kind is not None:
        conditions.append(PlanRow.budget_kind == filters.budget_kind.value)
    if filters.budget_min is not None:
        conditions.append(PlanRow.budget_value >= filters.budget_min)
    if filters.budget_max is not None:
        conditions.append(PlanRow.budget_value <= filters.budget_max)
    if filters.since is not None:
        conditions.append(PlanRow.created_at >= filters.since)
    if filters.until is not None:
        conditions.append(PlanRow.created_at < filters.until)
    return query.where(*conditions)


def _by_keeping(query: Select[Any], filters: PlanFilters) -> Select[Any]:
    """By names and pins, which are few: their tables are read first and the plans are looked up."""
    if filters.name is not None:
        query = query.where(PlanRow.id.in_(select(PlanNameRow.plan_id).where(PlanNameRow.name == filters.name)))
    if filters.pinned is not None:
        pinned = PlanRow.id.in_(select(PlanPinRow.plan_id))
        query = query.where(pinned if filters.pinned else ~pinned)
    return query


def _names(session: Session, rows: Sequence[PlanRow]) -> dict[str, list[str]]:
    query = select(PlanNameRow.plan_id, PlanNameRow.name).where(PlanNameRow.plan_id.in_([row.id for row in rows]))
    names: defaultdict[str, list[str]] = defaultdict(list)
    for plan, name in session.execute(query.order_by(PlanNameRow.name)):
        names[plan].append(name)
    return names


def _pinned(session: Session, rows: Sequence[PlanRow]) -> set[str]:
    return set(session.scalars(select(PlanPinRow.plan_id).where(PlanPinRow.plan_id.in_([row.id for row in rows]))))


def _stored_plan(row: PlanRow, names: list[str], pinned: bool) -> StoredPlan:
    return StoredPlan(
        id=row.id,
        model=row.model_id,
        runtime=row.runtime,
        probe=row.probe,
        rounding=row.rounding,
        budget=BudgetSpec.model_validate(row.budget),
        status=row.status,
        effective_bits=row.effective_bits,
        file_bytes=row.file_bytes,
        predicted_loss=row.predicted_loss,
        gap=row.gap,
        created_at=row.created_at,
        names=names,
        pinned=pinned,
    )
