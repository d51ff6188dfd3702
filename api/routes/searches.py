"""Evolutionary searches from stored plans."""

from fastapi import APIRouter, Response

from api.dependencies import DatabaseOf, Identity
from api.endpoint import Endpoint, needs
from planner.schemas.jobs import Job
from planner.schemas.keys import AccessScope
from planner.schemas.searches import SearchRequest
from planner.services import searching

router = APIRouter(prefix="/v1/plans", tags=["plans"], route_class=Endpoint)


@router.post("/{plan}/search", status_code=202)
@needs(AccessScope.MEASURE)
def search_plan(plan: Identity, request: SearchRequest, database: DatabaseOf, response: Response) -> Job:
    """Queue a search for a better plan by measuring changed ones, generation by generation; see the job's `request.outcome`."""
    with database.session() as session:
        job = searching.submit_search(session, plan, request)
    response.headers["location"] = f"/v1/jobs/{job.id}"
    return job
