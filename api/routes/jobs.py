"""Jobs: submit, look, cancel, follow."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from api.dependencies import Cursor, DatabaseOf, Identity, Limit
from planner.jobs.job import JobState
from planner.schemas.jobs import Job, JobPage, SubmitSensitivity
from planner.services import jobs
from planner.storage.database import Database

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
POLL_SECONDS = 0.5


@router.post("", status_code=202)
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
def cancel_job(job: Identity, database: DatabaseOf) -> Job:
    """Stop a job between two units; what it finished so far is kept. A finished job is a conflict."""
    with database.session() as session:
        return jobs.cancel_job(session, job)


@router.post("/{job}/retry", status_code=202)
def retry_job(job: Identity, database: DatabaseOf) -> Job:
    """Queue a failed or cancelled job again; units that have a result are not run again."""
    with database.session() as session:
        return jobs.retry_job(session, job)


def _look(database: Database, job: str) -> Job:
    with database.read_session() as session:
        return jobs.get_job(session, job)


async def _existing(job: Identity, database: DatabaseOf) -> Job:
    """The job, found before the stream begins: an unknown one is still an ordinary problem."""
    return await run_in_threadpool(_look, database, job)


@router.get("/{job}/events", response_class=EventSourceResponse)
async def follow_job(first: Annotated[Job, Depends(_existing)], database: DatabaseOf) -> AsyncIterator[ServerSentEvent]:
    """Progress as server-sent events: one `progress` event a change, and the stream ends with the job."""
    now, number = first, 1
    yield ServerSentEvent(data=now.model_dump(mode="json"), event="progress", id=str(number))
    while not now.state.is_final:
        await asyncio.sleep(POLL_SECONDS)
        last, now = now, await run_in_threadpool(_look, database, first.id)
        if (now.state, now.done, now.total) != (last.state, last.done, last.total):
            number += 1
            yield ServerSentEvent(data=now.model_dump(mode="json"), event="progress", id=str(number))
