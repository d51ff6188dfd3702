"""Plans: make, find, compare, keep, export, measure."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from api.answers import json_answer
from api.dependencies import IDENTITY_LENGTH, IDENTITY_PATTERN, ActorOf, Cursor, DatabaseOf, Identity, Limit, Reason, desk_of
from api.endpoint import Endpoint, answered_by, immutable, needs
from api.reading import read_json
from planner.schemas.jobs import Job
from planner.schemas.keys import AccessScope
from planner.schemas.plan_batches import PlanBatch, PlanBatchAnswer
from planner.schemas.plan_diffs import PlanDiff
from planner.schemas.plan_keeping import PinRequest, PlanFilters, PlanPage, PlanPin
from planner.schemas.plans import (
    EvaluateRequest,
    MeasureAroundRequest,
    PlanDocument,
    PlanRequest,
    RefineRequest,
)
from planner.services import evaluations, exporting, plan_batches, plan_diffs, plan_listing, plan_pins, plans, refining
from planner.services.evaluations import EvaluationPage

_IDENTITY = re.compile(IDENTITY_PATTERN)

router = APIRouter(prefix="/v1/plans", tags=["plans"], route_class=Endpoint)


class PlanQuery(PlanFilters):
    """Which stored plans, and which page of them."""

    limit: Limit = 50
    cursor: Cursor = None


async def _plan_directly(request: Request) -> Response | None:
    asked = await read_json(request, PlanRequest)
    if asked is None:
        return None
    plan = await desk_of(request).plan(asked)
    return json_answer(plan.document, status=201, location=f"/v1/plans/{plan.id}")


async def _stored_directly(request: Request) -> Response | None:
    plan: str = request.path_params["plan"]
    known = len(plan) <= IDENTITY_LENGTH and _IDENTITY.fullmatch(plan)
    return json_answer(await desk_of(request).stored(plan)) if known else None


@router.post("", status_code=201, response_model=PlanDocument)
@needs(AccessScope.PLAN)
@answered_by(_plan_directly)
def create_plan(request: PlanRequest, database: DatabaseOf) -> Response:
    """Plan now, from stored curves: the best assignment within the budget, with its proof."""
    with database.read_session() as session:
        plan = plans.make_plan(session, request)
    # a transaction of its own: no solver holds the database's one writer
    with database.session() as session:
        written = plans.store_plan(session, plan)
    return json_answer(written, status=201, location=f"/v1/plans/{plan.id}")


@router.post("/batch", response_model=PlanBatchAnswer)
@needs(AccessScope.PLAN)
def create_plans(request: PlanBatch, database: DatabaseOf) -> Response:
    """Plan many times now: answers in order, each a plan or a problem; one that fails does not spoil the others."""
    with database.read_session() as session:
        outcomes = plan_batches.make_plans(session, request.requests, deadline=request.deadline_seconds)
    with database.session() as session:
        outcomes = plan_batches.store_plans(session, outcomes)
    return json_answer(plan_batches.batch_answer(request, outcomes))


@router.get("")
def list_plans(query: Annotated[PlanQuery, Query()], database: DatabaseOf) -> PlanPage:
    """Stored plans, newest first."""
    with database.read_session() as session:
        return plan_listing.list_plans(session, query, cursor=query.cursor, limit=query.limit)


@router.get("/{plan}", response_model=PlanDocument)
@immutable
@answered_by(_stored_directly)
def get_plan(plan: Identity, database: DatabaseOf) -> Response:
    """One plan, whole."""
    with database.read_session() as session:
        return json_answer(plans.plan_json(session, plan))


@router.delete("/{plan}", status_code=204)
@needs(AccessScope.ADMIN)
def delete_plan(plan: Identity, database: DatabaseOf, who: ActorOf, why: Reason = "") -> None:
    """Forget a plan with its evaluations. One that is pinned or bears a name stays."""
    with database.session() as session:
        plan_pins.delete_plan(session, plan, who=who, why=why)


@router.get("/{plan}/diff/{other}")
def diff_plans(plan: Identity, other: Identity, database: DatabaseOf) -> PlanDiff:
    """What changes from a plan to another one of the same model, or of a fine-tune with the same layers."""
    with database.read_session() as session:
        return plan_diffs.diff_plans(session, plan, other)


@router.put("/{plan}/pin")
@needs(AccessScope.PLAN)
def pin_plan(plan: Identity, request: PinRequest, database: DatabaseOf, who: ActorOf) -> PlanPin:
    """Keep a plan from being deleted. A plan that is pinned already keeps its pin as it is."""
    with database.session() as session:
        return plan_pins.pin_plan(session, plan, request, who=who)


@router.get("/{plan}/pin")
def get_pin(plan: Identity, database: DatabaseOf) -> PlanPin:
    """Since when a plan is pinned, by whom and why."""
    with database.read_session() as session:
        return plan_pins.get_pin(session, plan)


@router.delete("/{plan}/pin", status_code=204)
@needs(AccessScope.PLAN)
def unpin_plan(plan: Identity, database: DatabaseOf, who: ActorOf, why: Reason = "") -> None:
    """Let a plan be deleted again."""
    with database.session() as session:
        plan_pins.unpin_plan(session, plan, who=who, why=why)


@router.get("/{plan}/export")
@immutable
def export_plan(
    plan: Identity,
    database: DatabaseOf,
    target: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=40,
            pattern=r"^[a-z0-9-]+$",
            description="json, compressed-tensors; by default the runtime's first",
        ),
    ] = None,
) -> dict[str, Any]:
    """The plan in the words of the engine that will load it."""
    with database.read_session() as session:
        return exporting.export_plan(session, plan, target)


@router.post("/{plan}/measure", status_code=202)
@needs(AccessScope.MEASURE)
def measure_around_plan(plan: Identity, request: MeasureAroundRequest, database: DatabaseOf, response: Response) -> Job:
    """Queue a measurement of what single changes of the plan would change: what `refine` makes the next plan from."""
    with database.session() as session:
        job = refining.submit_around(session, plan, request)
    response.headers["location"] = f"/v1/jobs/{job.id}"
    return job


@router.post(
    "/{plan}/refine",
    status_code=201,
    response_model=PlanDocument,
    responses={200: {"model": PlanDocument, "description": "No change of the plan is surely better: it stays"}},
)
@needs(AccessScope.PLAN)
def refine_plan(plan: Identity, request: RefineRequest, database: DatabaseOf) -> Response:
    """The next plan: the same question, answered by a short step from this plan that is surely better, if there is one."""
    with database.read_session() as session:
        found = refining.refine_plan(session, plan, request)
    if found.id == plan:
        return json_answer(found)
    with database.session() as session:
        written = plans.store_plan(session, found)
    return json_answer(written, status=201, location=f"/v1/plans/{found.id}")


@router.post("/{plan}/evaluate", status_code=202)
@needs(AccessScope.MEASURE)
def evaluate_plan(plan: Identity, request: EvaluateRequest, database: DatabaseOf, response: Response) -> Job:
    """Queue a measurement of the plan on held-out text, beside uniform under the same budget."""
    with database.session() as session:
        job = evaluations.submit_evaluation(session, plan, request)
    response.headers["location"] = f"/v1/jobs/{job.id}"
    return job


@router.get("/{plan}/evaluations")
def list_evaluations(plan: Identity, database: DatabaseOf) -> EvaluationPage:
    """What was measured of the plan, the newest job first."""
    with database.read_session() as session:
        return evaluations.list_evaluations(session, plan)
