"""One model over two devices."""

from fastapi import APIRouter, Response

from api.answers import json_answer
from api.dependencies import DatabaseOf
from api.endpoint import Endpoint, needs
from planner.schemas.keys import AccessScope
from planner.schemas.splits import SplitDocument, SplitRequest
from planner.services import splitting

router = APIRouter(prefix="/v1/splits", tags=["plans"], route_class=Endpoint)


@router.post("", response_model=SplitDocument)
@needs(AccessScope.PLAN)
def make_split(request: SplitRequest, database: DatabaseOf) -> Response:
    """Where to cut a model between two devices with a link between them, and which formats each side takes.

    Every split point is scanned: solved exactly within both memories and the seconds of a token, or left out by its bound.
    Computed now from stored curves, not kept.
    """
    with database.read_session() as session:
        return json_answer(splitting.make_split(session, request))
