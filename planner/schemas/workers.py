"""Documents of workers."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from planner.jobs.workers import WorkerState
from planner.schemas.base import Schema


class Worker(Schema):
    """A worker by its last heartbeat."""

    id: Annotated[str, Field(description="name of the process")]
    host: Annotated[str, Field(description="its machine")]
    pid: Annotated[int, Field(description="process id there")]
    state: Annotated[
        WorkerState,
        Field(description="draining begins nothing more; lost was silent for longer than its lease: its unit goes to another"),
    ]
    kinds: Annotated[list[str], Field(description="kinds of jobs that it can do")]
    labels: Annotated[list[str], Field(description="what jobs may ask for")]
    memory_bytes: Annotated[int | None, Field(description="jobs that need more are left to others; null takes any")]
    job: Annotated[str | None, Field(description="id of the job that it works on")]
    step: Annotated[str | None, Field(description="'enumerate', 'unit' or 'finish'")]
    unit: Annotated[str | None, Field(description="key of the unit")]
    started_at: Annotated[datetime, Field(description="first heartbeat")]
    last_seen: Annotated[datetime, Field(description="last heartbeat")]


class WorkerList(Schema):
    """Workers that are there, and those that went within a day; the last heard of first."""

    items: Annotated[list[Worker], Field(description="all of them")]
