"""Frontiers: every budget at once."""

from fastapi import APIRouter, Response

from api.answers import json_answer
from api.dependencies import DatabaseOf
from api.endpoint import Endpoint, needs
from planner.schemas.frontiers import FrontierDocument, FrontierRequest
from planner.schemas.keys import AccessScope
from planner.services import frontiers

router = APIRouter(prefix="/v1/frontiers", tags=["plans"], route_class=Endpoint)


@router.post("", response_model=FrontierDocument)
@needs(AccessScope.PLAN)
def make_frontier(request: FrontierRequest, database: DatabaseOf) -> Response:
    """Size against predicted loss, from the smallest plan to the largest: computed now from stored curves, not kept."""
    with database.read_session() as session:
        return json_answer(frontiers.make_frontier(session, request))
