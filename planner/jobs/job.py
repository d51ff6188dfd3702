"""A job as everybody but the engine sees it: a frozen snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final


class JobState(StrEnum):
    """Where a job, or a unit, is on its way. The last three are final until somebody asks to retry; units never pause."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Nothing changes by itself any more."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Terms:
    """How a job is to be run.

    Attributes:
        priority: a smaller number is served earlier.
        label: only workers with this label take it; ``None`` leaves it to any.
        memory_bytes: only workers with so much memory take it; ``None`` if nobody knows.
        sequential: a unit is begun when all units before it have ended: each may read the results of those.
        forecast_seconds: how long one worker is forecast to compute; ``None`` while nothing like it has been measured.
    """

    priority: int = 0
    label: str | None = None
    memory_bytes: int | None = None
    sequential: bool = False
    forecast_seconds: float | None = None


USUAL_TERMS: Final = Terms()


@dataclass(frozen=True, slots=True)
class FailedUnit:
    """A unit that ended without a result.

    Attributes:
        key: which one.
        reason: what it raised, or that its workers died.
        attempts: how often it was begun.
    """

    key: str
    reason: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Job:
    """A snapshot of queued work.

    Attributes:
        id: random, 32 hexadecimal digits.
        kind: which handler runs it.
        model_id: fingerprint of the model it works on.
        payload: what the handler needs to know, as JSON; of a job in a list without its long tables.
        state: see ``JobState``.
        terms: how it is to be run.
        reason: why it failed, or, of one that succeeded, what its failed units said.
        total: all units; ``None`` until a worker has listed them.
        done: units that succeeded.
        failed: units that failed for good.
        created_at: when it was submitted.
        started_at: when a worker claimed it first.
        finished_at: when it reached a final state.
        left_out: entries of each table that is left out of the payload, by its name.
    """

    id: str
    kind: str
    model_id: str
    payload: Mapping[str, Any]
    state: JobState
    terms: Terms
    reason: str | None
    total: int | None
    done: int
    failed: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a job goes.

    Attributes:
        rate: units per second, over the units that finished last; ``None`` before the first.
        eta_seconds: seconds left at this rate; ``None`` while unknown, 0 at the end.
    """

    rate: float | None
    eta_seconds: float | None
