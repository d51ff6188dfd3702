"""The most memory that a job took, beside the forecast in its payload: of the worker that ends it, if it took part in it."""

from sqlalchemy.orm import Session

from planner.jobs.job import Job
from planner.storage.tables import JobRow
from planner.worker.memory import peak_bytes, reset_peak
from sensitivity.heap import give_back


def begin_peak() -> None:
    """From now on what this process has at most is the job's that begins. What another job holds is let go of before."""
    give_back()
    reset_peak()


def record_peak(session: Session, job: Job, *, streamed: bool) -> None:
    """Write it into the job that ends.

    Args:
        session: the transaction in which the job ends.
        job: which one.
        streamed: whether its model was read block by block.
    """
    row = session.get_one(JobRow, job.id)
    memory = {**row.payload.get("memory", {}), "streamed": streamed, "peak_bytes": peak_bytes()}
    row.payload = {**row.payload, "memory": memory}
