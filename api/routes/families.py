"""Several models under one byte budget."""

from fastapi import APIRouter, Request, Response

from api.answers import json_answer
from api.dependencies import DatabaseOf, curves_of
from api.endpoint import Endpoint, answered_by, needs
from api.reading import read_json
from planner.schemas.families import FamilyDocument, FamilyRequest
from planner.schemas.keys import AccessScope
from planner.services import families

router = APIRouter(prefix="/v1/families", tags=["plans"], route_class=Endpoint)


async def _family_directly(request: Request) -> Response | None:
    asked = await read_json(request, FamilyRequest)
    if asked is None:
        return None
    return await curves_of(request).answer(request, lambda: make_family(asked, request.app.state.database))


@router.post("/frontier", response_model=FamilyDocument)
@needs(AccessScope.PLAN)
@answered_by(_family_directly)
def make_family(request: FamilyRequest, database: DatabaseOf) -> Response:
    """The frontiers of several models on one yardstick, and from which byte on another model is the better one.

    Models are compared by reference NLL on one held-out text + predicted KL, so each of them needs an evaluation on it.
    Computed now from stored curves, not kept.
    """
    with database.read_session() as session:
        return json_answer(families.make_family(session, request))
