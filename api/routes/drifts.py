"""Drifts: how far the layers of a model are from those of another checkpoint."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from api.answers import json_answer
from api.dependencies import DatabaseOf, ModelKey
from api.endpoint import Endpoint, needs
from planner.curve_tools.movement import DEFAULT_RATIO
from planner.schemas.drifts import DriftDocument, SubmitDrift
from planner.schemas.jobs import Job
from planner.schemas.keys import AccessScope
from planner.schemas.plans import FormatName
from planner.services import drift

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=Endpoint)


@router.post("/{model}/drifts", status_code=202)
@needs(AccessScope.MEASURE)
def submit_drift(model: ModelKey, request: SubmitDrift, database: DatabaseOf, response: Response) -> Job:
    """Queue the comparison of a model's weights with those of another checkpoint. What was compared before is done at once."""
    with database.session() as session:
        job = drift.submit_drift(session, model, request)
    response.headers["location"] = f"/v1/jobs/{job.id}"
    return job


@router.get("/{model}/drifts/{reference}", response_model=DriftDocument)
def get_drift(
    model: ModelKey,
    reference: Annotated[
        str, Path(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$", description="id or name of the other model")
    ],
    database: DatabaseOf,
    formats: Annotated[
        list[FormatName] | None,
        Query(max_length=200, description="formats to judge, repeatable; by default those whose rounding errors are known"),
    ] = None,
    ratio: Annotated[
        float, Query(ge=0, le=1, description="greatest share of a format's rounding error that counts as no movement")
    ] = DEFAULT_RATIO,
) -> Response:
    """How far each layer moved, and in which formats it has to be measured again."""
    with database.read_session() as session:
        return json_answer(drift.get_drift(session, model, reference, formats=formats, ratio=ratio))
