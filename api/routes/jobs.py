"""Jobs: submit, look, cancel, follow."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api.dependencies import Cursor, DatabaseOf, Identity, Limit, WatchOf
from api.endpoint import Endpoint, needs
from api.job_watch import JobEvent
from planner.jobs.job import JobState
from planner.schemas.jobs import Job, JobPage, SubmitSensitivity
from planner.schemas.keys import AccessScope
from planner.services import jobs

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=Endpoint)
LastEventId = Annotated[
    str | None, Header(max_length=200, description="`id` of the last event that the client has; the stream goes on after it")
]


@router.post("", status_code=202)
@needs(AccessScope.MEASURE)
def submit_job(request: SubmitSensitivity, database: DatabaseOf, response: Response) -> Job:
    """Queue a sensitivity job. What was measured before is not measured again unless `force` is set."""
    with database.session() as session:
        job = jobs.submit_sensitivity(session, request)
    response.headers["location"] = f"/v1/jobs/{job.id}"
    return job


@router.get("")
def list_jobs(
    database: DatabaseOf,
    cursor: Cursor = None,
    limit: Limit = 50,
    model: Annotated[
        str | None, Query(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$", description="of one model")
    ] = None,
    state: Annotated[JobState | None, Query(description="in one state")] = None,
) -> JobPage:
    """Jobs, newest first."""
    with database.read_session() as session:
        return jobs.list_jobs(session, model=model, state=state, cursor=cursor, limit=limit)


@router.get("/{job}")
def get_job(job: Identity, database: DatabaseOf) -> Job:
    """One job and how far it is."""
    with database.read_session() as session:
        return jobs.get_job(session, job)


@router.post("/{job}/cancel")
@needs(AccessScope.MEASURE)
def cancel_job(job: Identity, database: DatabaseOf) -> Job:
    """Stop a job between two units; what it finished so far is kept. A finished job is a conflict."""
    with database.session() as session:
        return jobs.cancel_job(session, job)


@router.post("/{job}/pause")
@needs(AccessScope.MEASURE)
def pause_job(job: Identity, database: DatabaseOf) -> Job:
    """Begin no further unit of a job until it is resumed; what runs now is kept. A finished job is a conflict."""
    with database.session() as session:
        return jobs.pause_job(session, job)


@router.post("/{job}/resume")
@needs(AccessScope.MEASURE)
def resume_job(job: Identity, database: DatabaseOf) -> Job:
    """Let a paused job go on. A finished job is a conflict."""
    with database.session() as session:
        return jobs.resume_job(session, job)


@router.post("/{job}/retry", status_code=202)
@needs(AccessScope.MEASURE)
def retry_job(job: Identity, database: DatabaseOf) -> Job:
    """Queue a failed or cancelled job again; units that have a result are not run again."""
    with database.session() as session:
        return jobs.retry_job(session, job)


async def _first(job: Identity, watch: WatchOf, response: Response, last_event_id: LastEventId = None) -> JobEvent:
    """The job, found before the stream begins: an unknown one is still an ordinary problem."""
    if watch.is_full:
        detail = "as many clients follow jobs as the service takes on; ask for GET /v1/jobs/{job} in a while instead"
        raise HTTPException(503, detail, {"retry-after": "30"})
    first = await watch.find(job)
    if first.is_final and first.version == last_event_id:
        response.status_code = 204  # by which the standard tells a browser's EventSource to come no more
    return first


@router.get(
    "/{job}/events", response_class=EventSourceResponse, responses={204: {"description": "Nothing follows the last event"}}
)
async def follow_job(
    first: Annotated[JobEvent, Depends(_first)], watch: WatchOf, last_event_id: LastEventId = None
) -> AsyncIterator[ServerSentEvent]:
    """Progress as server-sent events: the job now and after each change of its state and counts, until it ends.

    Each is a `progress` event whose data is the job and whose id names its progress, as `running.12.0.400`: whoever comes again
    with it as `Last-Event-ID` gets what is new since.
    """
    async with aclosing(watch.follow(first, seen=last_event_id)) as events:
        async for event in events:
            yield ServerSentEvent(raw_data=event.document, event="progress", id=event.version)
