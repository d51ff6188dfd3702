"""Several models under one byte budget."""

from fastapi import APIRouter, Response

from api.answers import json_answer
from api.dependencies import DatabaseOf
from api.endpoint import Endpoint, needs
from planner.schemas.families import FamilyDocument, FamilyRequest
from planner.schemas.keys import AccessScope
from planner.services import families

router = APIRouter(prefix="/v1/families", tags=["plans"], route_class=Endpoint)


@router.post("/frontier", response_model=FamilyDocument)
@needs(AccessScope.PLAN)
def make_family(request: FamilyRequest, database: DatabaseOf) -> Response:
    """The frontiers of several models on one yardstick, and from which byte on another model is the better one.

    Models are compared by reference NLL on one held-out text + predicted KL, so each of them needs an evaluation on it.
    Computed now from stored curves, not kept.
    """
    with database.read_session() as session:
        return json_answer(families.make_family(session, request))
