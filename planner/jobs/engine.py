"""The port of every job engine; a durable-execution library can slip under it.

Who asks (REST, command line) passes a session: what it does is part of the caller's transaction. Who works (a worker) passes
none: each step is a transaction of the engine's own. A job goes through three steps: *enumerate* (once), *unit* (once each),
*finish* (once). "Once" is about what is recorded: a step whose worker died is begun again, and a fencing token sees to it that
only who holds the lease records.

Every job reaches an end. A unit that raised, or whose worker died, again and again ends as failed; the others go on, and the job
is finished with the results that there are. It fails if none of its units succeeded, and at once if a unit says that trying again
cannot help: that is a fact about the input of all of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from planner.jobs.handler import UnitSpec
from planner.jobs.job import USUAL_TERMS, FailedUnit, Job, JobState, Pace, Terms
from planner.jobs.workers import SeenWorker, WorkerProfile

__all__ = ["AbstractJobEngine", "Job", "JobState", "Lease", "Pace", "Reduce", "Step", "Terms", "UnitSpec", "WorkerProfile"]

Reduce = Callable[[Session, Job, Sequence[tuple[str, NDArray[np.float64]]]], None]


class Step(StrEnum):
    """What a lease is for."""

    ENUMERATE = "enumerate"
    UNIT = "unit"
    FINISH = "finish"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to do one step of a job, until somebody else gets it.

    Attributes:
        step: what to do.
        job: the job as it was when the lease was given.
        unit: which unit, for ``Step.UNIT``.
        token: fencing token, new with every lease.
        worker_id: who got it.
    """

    step: Step
    job: Job
    unit: UnitSpec | None
    token: str
    worker_id: str


class AbstractJobEngine(ABC):
    """Queued work with leases. ``lease_seconds`` is how long a worker may be silent."""

    lease_seconds: float

    @abstractmethod
    def submit(
        self, session: Session, *, kind: str, model_id: str, payload: Mapping[str, Any], terms: Terms = USUAL_TERMS
    ) -> Job:
        """Queue a job."""

    @abstractmethod
    def get(self, session: Session, job_id: str) -> Job:
        """One job.

        Raises:
            NotFoundError: no such job.
        """

    @abstractmethod
    def get_brief(self, session: Session, job_id: str) -> Job:
        """One job without the long tables of its payload: little to read, however many layers its model has.

        Raises:
            NotFoundError: no such job.
        """

    @abstractmethod
    def list_jobs(
        self,
        session: Session,
        *,
        model_id: str | None = None,
        states: Collection[JobState] = (),
        limit: int = 50,
        after: Job | None = None,
    ) -> list[Job]:
        """Jobs as ``get_brief`` has them, newest first, of a model, in some states, after (older than) a job."""

    @abstractmethod
    def paces(self, session: Session, jobs: Collection[Job]) -> dict[str, Pace]:
        """Rate and remaining seconds of each job, by its id."""

    @abstractmethod
    def failures(self, session: Session, jobs: Collection[Job], *, limit: int) -> dict[str, list[FailedUnit]]:
        """The first units of each job that failed for good, in the order of keys, by the job's id.

        A job without one, or whose units are purged, is left out.
        """

    @abstractmethod
    def pause(self, session: Session, job_id: str) -> Job:
        """Begin no further unit of a job until it is resumed; what runs now is recorded. A paused job stays paused.

        Raises:
            NotFoundError: no such job.
            ConflictError: it has ended.
        """

    @abstractmethod
    def resume(self, session: Session, job_id: str) -> Job:
        """Let a paused job go on; one that is queued or running stays so.

        Raises:
            NotFoundError: no such job.
            ConflictError: it has ended.
        """

    @abstractmethod
    def cancel(self, session: Session, job_id: str) -> Job:
        """Stop a job before its next unit; the results that it has are kept. A cancelled job stays cancelled.

        Raises:
            NotFoundError: no such job.
            ConflictError: it succeeded or failed already.
        """

    @abstractmethod
    def retry(self, session: Session, job_id: str) -> Job:
        """Queue a failed or cancelled job again: only the units without a result are run, or all if they are purged.

        Raises:
            NotFoundError: no such job.
            ConflictError: it is queued, running or paused, or it succeeded.
        """

    @abstractmethod
    def has_work(self, worker: WorkerProfile) -> bool:
        """Whether any job that the worker can do is queued or running."""

    @abstractmethod
    def claim(self, worker: WorkerProfile) -> Lease | None:
        """The next step of any job that the worker can do, or ``None`` if nothing can be begun right now."""

    @abstractmethod
    def extend(self, lease: Lease) -> bool:
        """Heartbeat: hold the lease for another ``lease_seconds``. False if it is lost."""

    @abstractmethod
    def release(self, lease: Lease) -> None:
        """Give a step back unfinished, without counting it as an attempt. Does nothing if the lease is lost."""

    @abstractmethod
    def record_units(self, lease: Lease, units: Sequence[UnitSpec]) -> None:
        """End of ``Step.ENUMERATE``: these are all units.

        Raises:
            LeaseLostError: somebody else has the job now, or it was cancelled.
            PermanentError: two units have one key, or a key is too long.
        """

    @abstractmethod
    def record_result(self, lease: Lease, result: NDArray[np.float64], *, seconds: float) -> None:
        """End of ``Step.UNIT``: result, completion and the job's count, in one transaction. Kept even if the job has ended.

        Raises:
            LeaseLostError: somebody else has the unit now.
        """

    @abstractmethod
    def finish(self, lease: Lease, reduce: Reduce) -> None:
        """``Step.FINISH``: run ``reduce`` and let the job succeed, in one transaction.

        Raises:
            LeaseLostError: somebody else has the job now, or it was cancelled.
        """

    @abstractmethod
    def fail(self, lease: Lease, reason: str, *, permanent: bool) -> None:
        """The step raised: try it again later, or, if that was done too often, let the unit fail.

        The job fails with it if trying again cannot help, if the step is none of a unit, if its units need each other, or if
        no unit succeeded so far and many failed.

        Raises:
            LeaseLostError: somebody else has the step now.
        """

    @abstractmethod
    def beat(self, worker: WorkerProfile, *, draining: bool) -> None:
        """A worker says that it is there, and whether it will begin anything more."""

    @abstractmethod
    def leave(self, worker: WorkerProfile) -> None:
        """A worker says good-bye."""

    @abstractmethod
    def list_workers(self, session: Session) -> list[SeenWorker]:
        """Workers that are there or went lately, the last heard of first."""

    @abstractmethod
    def purge(self, *, older_than: timedelta) -> int:
        """Forget the units, with their results, of jobs that ended so long ago; the jobs and what they wrote stay.

        Returns:
            How many units are gone.
        """
