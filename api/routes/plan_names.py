"""Names of a model's plans, and the trail of names, pins and deleted plans."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.dependencies import ActorOf, DatabaseOf, Limit, ModelKey, PlanName, Reason
from api.endpoint import needs
from planner.schemas import plan_keeping
from planner.schemas.keys import AccessScope
from planner.schemas.plan_keeping import EventFilters, MoveName, PlanEventPage, PlanId, PlanNameList
from planner.services import plan_names, plan_trail

router = APIRouter(prefix="/v1", tags=["plans"])


class EventQuery(EventFilters):
    """Which lines of the trail, and which page of them."""

    limit: Limit = 50
    cursor: Annotated[str | None, Query(pattern=r"^[0-9]{1,18}$", description="`next` of the previous page")] = None


@router.get("/models/{model}/plan-names")
def list_plan_names(model: ModelKey, database: DatabaseOf) -> PlanNameList:
    """The names that plans of the model bear now."""
    with database.read_session() as session:
        return plan_names.list_names(session, model)


@router.get("/models/{model}/plan-names/{name}")
def get_plan_name(model: ModelKey, name: PlanName, database: DatabaseOf) -> plan_keeping.PlanName:
    """The plan that bears a name now."""
    with database.read_session() as session:
        return plan_names.get_name(session, model, name)


@router.put(
    "/models/{model}/plan-names/{name}",
    responses={201: {"model": plan_keeping.PlanName, "description": "No plan bore the name before"}},
)
@needs(AccessScope.PLAN)
def move_plan_name(
    model: ModelKey, name: PlanName, request: MoveName, database: DatabaseOf, who: ActorOf, response: Response
) -> plan_keeping.PlanName:
    """Let a name stand for a plan, whichever bore it before. With `replaces`, only if that is still so."""
    with database.session() as session:
        found, created = plan_names.move_name(session, model, name, request, who=who)
    response.status_code = 201 if created else 200
    return found


@router.delete("/models/{model}/plan-names/{name}", status_code=204)
@needs(AccessScope.PLAN)
def remove_plan_name(
    model: ModelKey,
    name: PlanName,
    database: DatabaseOf,
    who: ActorOf,
    why: Reason = "",
    replaces: Annotated[PlanId | None, Query(description="plan that has to bear the name now; by default any")] = None,
) -> None:
    """Take a name away from the plan that bears it."""
    with database.session() as session:
        plan_names.remove_name(session, model, name, replaces=replaces, who=who, why=why)


@router.get("/plan-events")
def list_plan_events(query: Annotated[EventQuery, Query()], database: DatabaseOf) -> PlanEventPage:
    """Who named, pinned or deleted which plan, when and why; newest first."""
    with database.read_session() as session:
        return plan_trail.list_events(session, query, cursor=query.cursor, limit=query.limit)
