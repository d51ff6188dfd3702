"""Plans that are only looked at."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from api.answers import json_answer
from api.dependencies import DatabaseOf, previews_of
from api.endpoint import Endpoint, answered_by, needs
from api.reading import read_json
from planner.schemas.keys import AccessScope
from planner.schemas.plan_previews import PlanPreview
from planner.schemas.plans import PlanRequest
from planner.services import plan_previews
from planner.storage.database import Database

router = APIRouter(prefix="/v1/plans", tags=["plans"], route_class=Endpoint)
_AGGREGATE: Final = {"": False, "aggregate=false": False, "aggregate=true": True}
"""The query that a page sends; others are read by FastAPI."""


async def _preview_directly(request: Request) -> Response | None:
    aggregate = _AGGREGATE.get(request.url.query)
    asked = None if aggregate is None else await read_json(request, PlanRequest)
    if aggregate is None or asked is None:
        return None
    database: Database = request.app.state.database
    return await previews_of(request).answer(request, lambda: preview_plan(asked, database, aggregate))


@router.post("/preview", response_model=PlanPreview)
@needs(AccessScope.PLAN)
@answered_by(_preview_directly)
def preview_plan(
    request: PlanRequest,
    database: DatabaseOf,
    aggregate: Annotated[bool, Query(description="without the choice of every single layer: tiles alone")] = False,
) -> Response:
    """Plan now and keep nothing: the same solve and proof as of a plan that is stored, in a compact answer."""
    with database.read_session(together=False) as session:
        preview = plan_previews.preview_plan(session, request, aggregate=aggregate)
    return json_answer(preview)
