"""Follow a job to its end with a progress bar, working on it in this process."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from planner.cli.reporting import JobFailedError, err
from planner.cli.workspace import settings
from planner.schemas.jobs import Job, JobState
from planner.services import jobs as service
from planner.storage.database import Database

POLL_SECONDS = 0.2


def follow(database: Database, job_id: str, *, quiet: bool, at_work: bool = False) -> Job:
    """Work in this process until the job has ended; other workers may take part.

    Args:
        database: where the job is.
        job_id: which one.
        quiet: show no progress.
        at_work: a worker of this process is at work already (``working``).

    Raises:
        JobFailedError: the job failed or was cancelled; the message is its reason.
    """
    job = _read(database, job_id)
    if not job.state.is_final:
        with nullcontext() if at_work else working(database), _bar(quiet=quiet) as progress:
            job = _watch(database, job, progress)
    if job.state is not JobState.SUCCEEDED:
        msg = f"job {job.id} {job.state}: {job.reason or 'no reason was given'}"
        raise JobFailedError(msg, job=job.id, state=job.state.value)
    return job


def _watch(database: Database, job: Job, progress: Progress) -> Job:
    task = progress.add_task(f"{job.kind} (loading the model)", total=None)
    while not job.state.is_final:
        time.sleep(POLL_SECONDS)
        job = _read(database, job.id)
        label = job.kind if job.done else f"{job.kind} (loading the model)"
        progress.update(task, description=label, total=job.total, completed=job.done)
    return job


def _read(database: Database, job_id: str) -> Job:
    with database.read_session() as session:
        return service.get_job(session, job_id)


def _bar(*, quiet: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=err, disable=quiet, transient=False)


@contextmanager
def working(database: Database) -> Iterator[None]:
    """A worker in this process meanwhile: for several jobs one after the other it loads the model once."""
    from planner.worker.process import make_worker

    worker = make_worker(database, settings())
    thread = threading.Thread(target=worker.run, name="bitplan-worker", daemon=True)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join()
