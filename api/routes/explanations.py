"""Why a plan gives each layer its format."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.answers import json_answer
from api.dependencies import DatabaseOf, Identity
from api.endpoint import Endpoint
from planner.schemas.explanations import PlanExplanation
from planner.services import explaining_plans

router = APIRouter(prefix="/v1/plans", tags=["plans"], route_class=Endpoint)


@router.get("/{plan}/explain", response_model=PlanExplanation)
def explain_plan(
    plan: Identity,
    database: DatabaseOf,
    layer: Annotated[
        str,
        Query(
            min_length=1,
            max_length=300,
            pattern=r"^[^\x00-\x1f\x7f]*$",
            description="which layers, by shell-style pattern: *.down_proj, model.layers.0.*",
        ),
    ] = "*",
    limit: Annotated[int, Query(ge=1, le=5000, description="layers that are explained, the first in model order")] = 500,
) -> Response:
    """Each layer's options and margins, what closes formats to it, and what would have to change for it to take another one."""
    with database.read_session() as session:
        return json_answer(explaining_plans.explain_plan(session, plan, layers=layer, most=limit))
