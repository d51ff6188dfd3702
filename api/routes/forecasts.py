"""What a job would be and take, before it is submitted."""

from fastapi import APIRouter

from api.dependencies import DatabaseOf, Identity
from api.endpoint import Endpoint, needs
from planner.schemas.jobs import JobForecast, SubmitSensitivity
from planner.schemas.keys import AccessScope
from planner.schemas.plans import EvaluateRequest
from planner.services import job_previews

router = APIRouter(prefix="/v1", tags=["jobs"], route_class=Endpoint)


@router.post("/jobs/forecast")
@needs(AccessScope.MEASURE)
def forecast_job(request: SubmitSensitivity, database: DatabaseOf) -> JobForecast:
    """What a sensitivity job would be and take; nothing is queued. Without a text the built-in one is assumed."""
    with database.read_session() as session:
        return job_previews.forecast_sensitivity(session, request)


@router.post("/plans/{plan}/evaluate/forecast")
@needs(AccessScope.MEASURE)
def forecast_evaluation(plan: Identity, request: EvaluateRequest, database: DatabaseOf) -> JobForecast:
    """What the evaluation of a plan would be and take; nothing is queued."""
    with database.read_session() as session:
        return job_previews.forecast_evaluation(session, plan, request)
