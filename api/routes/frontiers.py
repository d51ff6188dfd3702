"""Frontiers: every budget at once."""

from fastapi import APIRouter, Request, Response

from api.answers import json_answer
from api.dependencies import DatabaseOf, curves_of
from api.endpoint import Endpoint, answered_by, needs
from api.reading import read_json
from planner.schemas.frontiers import FrontierDocument, FrontierRequest
from planner.schemas.keys import AccessScope
from planner.services import frontiers

router = APIRouter(prefix="/v1/frontiers", tags=["plans"], route_class=Endpoint)


async def _frontier_directly(request: Request) -> Response | None:
    asked = await read_json(request, FrontierRequest)
    if asked is None:
        return None
    return await curves_of(request).answer(request, lambda: make_frontier(asked, request.app.state.database))


@router.post("", response_model=FrontierDocument)
@needs(AccessScope.PLAN)
@answered_by(_frontier_directly)
def make_frontier(request: FrontierRequest, database: DatabaseOf) -> Response:
    """Size against predicted loss, from the smallest plan to the largest: computed now from stored curves, not kept."""
    with database.read_session() as session:
        return json_answer(frontiers.make_frontier(session, request))
