"""A job as everybody but the engine sees it: a frozen snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class JobState(StrEnum):
    """Where a job, or a unit, is on its way. The last three are final until somebody asks to retry."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Nothing changes by itself any more."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Job:
    """A snapshot of queued work.

    Attributes:
        id: random, 32 hexadecimal digits.
        kind: which handler runs it.
        model_id: fingerprint of the model it works on.
        payload: what the handler needs to know, as JSON.
        state: see ``JobState``.
        priority: a smaller number is served earlier.
        reason: why it failed.
        total: all units; ``None`` until a worker has listed them.
        done: units that succeeded.
        failed: units that failed for good.
        created_at: when it was submitted.
        started_at: when a worker claimed it first.
        finished_at: when it reached a final state.
    """

    id: str
    kind: str
    model_id: str
    payload: Mapping[str, Any]
    state: JobState
    priority: int
    reason: str | None
    total: int | None
    done: int
    failed: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a job goes.

    Attributes:
        rate: units per second, over the units that finished last; ``None`` before the first.
        eta_seconds: seconds left at this rate; ``None`` while unknown, 0 at the end.
    """

    rate: float | None
    eta_seconds: float | None
