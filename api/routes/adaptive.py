"""Adaptive measuring: which cells to measure next."""

from fastapi import APIRouter, Response

from api.answers import json_answer
from api.dependencies import DatabaseOf
from api.endpoint import Endpoint, needs
from planner.schemas.adaptive import AdaptiveRequest, AdaptiveStep
from planner.schemas.keys import AccessScope
from planner.services import adaptive

router = APIRouter(prefix="/v1/adaptive-steps", tags=["jobs"], route_class=Endpoint)


@router.post("", response_model=AdaptiveStep)
@needs(AccessScope.PLAN)
def next_step(request: AdaptiveRequest, database: DatabaseOf) -> Response:
    """Which exact cells the plans of some budgets hang on: computed now from stored cells, not kept.

    Submit the job in `next` to `/v1/jobs`, wait for its end and ask again, until `finished` says why there is no more to do;
    `/v1/models/{model}/links` then keeps the linked curves. The same stored cells give the same step.
    """
    with database.read_session() as session:
        return json_answer(adaptive.next_step(session, request))
