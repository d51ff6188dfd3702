"""How far jobs are, without what they were asked: cheap enough to be read twice a second."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from planner.jobs.job import JobState
from planner.jobs.rows import ENDED, UNFINISHED
from planner.storage.tables import JobRow


@dataclass(frozen=True, slots=True)
class JobProgress:
    """A job by its counts; equal as long as nothing happens.

    Attributes:
        id: of the job.
        kind: of the job.
        state: where it is on its way.
        done: units that succeeded. Never falls: results are kept, whatever becomes of the job.
        failed: units that failed for good; 0 again when the job is retried.
        total: all units; ``None`` until a worker has listed them.
        created_at: when it was submitted.
    """

    id: str
    kind: str
    state: JobState
    done: int
    failed: int
    total: int | None
    created_at: datetime

    @property
    def version(self) -> str:
        """Names this progress among all of the job."""
        return version_of(self.state, done=self.done, failed=self.failed, total=self.total)

    @property
    def waiting(self) -> int:
        """Units that nobody has finished; 0 until they are listed."""
        return 0 if self.total is None else max(self.total - self.done - self.failed, 0)


def version_of(state: JobState, *, done: int, failed: int, total: int | None) -> str:
    """A job's state and counts as one word, ``running.12.0.400``: the same for the same progress, whoever looks."""
    return f"{state.value}.{done}.{failed}.{'' if total is None else total}"


def progress_of(session: Session, jobs: Collection[str]) -> dict[str, JobProgress]:
    """The progress of jobs by id, in one query; those that are gone are left out."""
    return {progress.id: progress for progress in _read(session, JobRow.id.in_(sorted(jobs)))} if jobs else {}


def unfinished_jobs(session: Session) -> list[JobProgress]:
    """Every job that has not ended, paused ones too."""
    return _read(session, JobRow.state.in_(UNFINISHED))


def ended_jobs(session: Session, *, created_since: datetime) -> list[JobProgress]:
    """Jobs that were submitted since then and have ended already."""
    return _read(session, JobRow.state.in_(ENDED), JobRow.created_at >= created_since)


def _read(session: Session, *conditions: ColumnElement[bool]) -> list[JobProgress]:
    columns = (JobRow.id, JobRow.kind, JobRow.state, JobRow.done, JobRow.failed, JobRow.total, JobRow.created_at)
    rows = session.execute(select(*columns).where(*conditions))
    return [
        JobProgress(identity, kind, JobState(state), done, failed, total, created)
        for identity, kind, state, done, failed, total, created in rows
    ]
