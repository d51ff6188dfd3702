"""A plan's question asked again for another runtime."""

from fastapi import APIRouter, Response

from api.answers import json_answer
from api.dependencies import DatabaseOf, Identity
from api.endpoint import Endpoint, needs
from planner.schemas.keys import AccessScope
from planner.schemas.retargeting import Retargeted, RetargetRequest
from planner.services import plans, retargeting

router = APIRouter(prefix="/v1/plans", tags=["plans"], route_class=Endpoint)


@router.post("/{plan}/retarget", status_code=201, response_model=Retargeted)
@needs(AccessScope.PLAN)
def retarget_plan(plan: Identity, request: RetargetRequest, database: DatabaseOf) -> Response:
    """The same curves, budget and rules for another runtime: the new plan, what changed, why, and what it cost."""
    with database.read_session() as session:
        found = retargeting.retarget_plan(session, plan, request)
    with database.session() as session:
        plans.store_plan(session, found.plan)
    return json_answer(found, status=201, location=f"/v1/plans/{found.plan.id}")
