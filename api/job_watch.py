"""Followers of jobs: one query at a time looks after all of them, however many there are and whatever they follow."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import final

import structlog
from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from planner.errors import StorageError
from planner.schemas.jobs import Job
from planner.services import jobs
from planner.services.job_progress import progress_of, version_of
from planner.storage.database import Database

POLL_SECONDS = 0.5
MAX_FOLLOWERS = 1_000
_log = structlog.get_logger("api")


@final
@dataclass(frozen=True, slots=True)
class JobEvent:
    """A job as its followers get it.

    Attributes:
        job: its id.
        version: which of its states and counts this is; see ``planner.services.job_progress``.
        document: the job as JSON, made once for all followers.
        is_final: nothing follows.
    """

    job: str
    version: str
    document: str
    is_final: bool

    @classmethod
    def of(cls, job: Job) -> "JobEvent":
        """The event that shows the job, as a list has it."""
        version = version_of(job.state, done=job.done, failed=job.failed, total=job.total)
        return cls(job.id, version, job.model_dump_json(), job.state.is_final)


@dataclass(slots=True)
class _Followed:
    """A job that somebody follows. ``news`` is set, and another one put in its place, when something changes."""

    event: JobEvent
    followers: int = 0
    ended: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, event: JobEvent | None) -> None:
        """Wake the followers: with an event, or, without one, to let them go."""
        if event is None:
            self.ended = True
        else:
            self.event = event
        self.news.set()
        self.news = asyncio.Event()


class JobWatch:
    """Looks at the followed jobs while there are any, and wakes their followers. Belongs to one event loop."""

    def __init__(self, database: Database) -> None:
        """A watch that follows nothing yet.

        Args:
            database: where the jobs are.
        """
        self._database = database
        self._limiter = CapacityLimiter(1)  # a thread of its own: not behind the requests of a busy service
        self._followed: dict[str, _Followed] = {}
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def is_full(self) -> bool:
        """Whether no further follower is taken: each keeps a connection."""
        return sum(followed.followers for followed in self._followed.values()) >= MAX_FOLLOWERS

    async def find(self, job: str) -> JobEvent:
        """The job as it is now.

        Raises:
            NotFoundError: no such job.
            StorageError: the database does not answer.
        """
        return await run_sync(self._find, job)

    async def follow(self, first: JobEvent, *, seen: str | None = None) -> AsyncGenerator[JobEvent]:
        """The job now and after each change, until it ends, is deleted or the service stops.

        Who is slow gets what is newest, not everything in between.

        Args:
            first: what ``find`` found.
            seen: version that the follower has already; it is not repeated.
        """
        followed = self._followed.setdefault(first.job, _Followed(first))
        followed.followers += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_until_alone())
        try:
            while not self._closed:
                news, event = followed.news, followed.event
                if event.version != seen:
                    seen = event.version
                    yield event
                elif event.is_final or followed.ended:
                    return
                else:
                    await news.wait()
        finally:
            followed.followers -= 1
            if not followed.followers and self._followed.get(first.job) is followed:
                del self._followed[first.job]

    def close(self) -> None:
        """Let all followers go, now and later: the service stops. Call from the event loop."""
        self._closed = True
        self._release()

    async def _look_until_alone(self) -> None:
        try:
            while self._followed:
                await asyncio.sleep(POLL_SECONDS)
                try:
                    changed = await run_sync(self._changed, self._versions(), limiter=self._limiter)
                except StorageError as error:
                    _log.warning("no database; followers wait", followed=len(self._followed), error=str(error))
                    continue
                for job, event in changed.items():
                    if job in self._followed:
                        self._followed[job].tell(event)
        finally:  # whatever ended it: nobody waits for news that do not come
            self._looking = None
            self._release()

    def _versions(self) -> dict[str, str]:
        return {job: followed.event.version for job, followed in self._followed.items()}

    def _release(self) -> None:
        for followed in self._followed.values():
            followed.tell(None)

    def _find(self, job: str) -> JobEvent:
        with self._database.read_session() as session:
            return JobEvent.of(jobs.get_brief_job(session, job))

    def _changed(self, known: Mapping[str, str]) -> dict[str, JobEvent | None]:
        """Jobs that are not as they were; ``None`` stands for one that is gone."""
        with self._database.read_session() as session:
            found = progress_of(session, known)
            moved = [job for job, progress in found.items() if progress.version != known[job]]
            gone: dict[str, JobEvent | None] = dict.fromkeys(known.keys() - found.keys())
            return gone | {job: JobEvent.of(jobs.get_brief_job(session, job)) for job in moved}
