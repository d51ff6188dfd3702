"""Workers as the engine and its users see them: who asks for work, and who is there."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

LABEL_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$"
"""What a label looks like."""


@dataclass(frozen=True, slots=True)
class WorkerProfile:
    """Who asks for work, and what it can do.

    Attributes:
        id: a name that no other worker has, at most 100 characters.
        kinds: kinds of jobs that it has a handler for.
        labels: what jobs may ask for ("gpu").
        memory_bytes: what it may use; ``None`` takes jobs of any size.
        host: name of its machine.
        pid: its process there.
    """

    id: str
    kinds: Collection[str]
    labels: frozenset[str] = field(default=frozenset())
    memory_bytes: int | None = None
    host: str = ""
    pid: int = 0


class WorkerState(StrEnum):
    """What a worker is doing, by its last heartbeat."""

    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"
    STOPPED = "stopped"
    LOST = "lost"

    @property
    def is_there(self) -> bool:
        """It has been heard of lately, and has not said good-bye."""
        return self not in (WorkerState.STOPPED, WorkerState.LOST)


@dataclass(frozen=True, slots=True)
class SeenWorker:
    """A worker by its last heartbeat.

    Attributes:
        profile: what it can do.
        state: ``LOST`` if it was silent for longer than its lease: it died, or cannot reach the database.
        started_at: its first heartbeat.
        last_seen: its last one.
        job_id: whose step it holds the lease of.
        step: ``enumerate``, ``unit`` or ``finish``.
        unit: key of the unit.
    """

    profile: WorkerProfile
    state: WorkerState
    started_at: datetime
    last_seen: datetime
    job_id: str | None = None
    step: str | None = None
    unit: str | None = None
