"""Plans that are only looked at."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.answers import json_answer
from api.dependencies import DatabaseOf
from api.endpoint import Endpoint, needs
from planner.schemas.keys import AccessScope
from planner.schemas.plan_previews import PlanPreview
from planner.schemas.plans import PlanRequest
from planner.services import plan_previews

router = APIRouter(prefix="/v1/plans", tags=["plans"], route_class=Endpoint)


@router.post("/preview", response_model=PlanPreview)
@needs(AccessScope.PLAN)
def preview_plan(
    request: PlanRequest,
    database: DatabaseOf,
    aggregate: Annotated[bool, Query(description="without the choice of every single layer: tiles alone")] = False,
) -> Response:
    """Plan now and keep nothing: the same solve and proof as of a plan that is stored, in a compact answer."""
    with database.read_session(together=False) as session:
        preview = plan_previews.preview_plan(session, request, aggregate=aggregate)
    return json_answer(preview)
