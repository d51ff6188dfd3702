"""Workers: who is there, and what each works on."""

from sqlalchemy.orm import Session

from planner.jobs.sql_engine import SqlJobEngine
from planner.jobs.workers import SeenWorker
from planner.schemas.workers import Worker, WorkerList
from planner.storage.database import Database


def list_workers(session: Session) -> WorkerList:
    """Workers that are there, and those that went within a day."""
    return WorkerList(items=[_document(seen) for seen in SqlJobEngine(Database.of(session)).list_workers(session)])


def _document(seen: SeenWorker) -> Worker:
    return Worker(
        id=seen.profile.id,
        host=seen.profile.host,
        pid=seen.profile.pid,
        state=seen.state,
        kinds=list(seen.profile.kinds),
        labels=sorted(seen.profile.labels),
        memory_bytes=seen.profile.memory_bytes,
        job=seen.job_id,
        step=seen.step,
        unit=seen.unit,
        started_at=seen.started_at,
        last_seen=seen.last_seen,
    )
