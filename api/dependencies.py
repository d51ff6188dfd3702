"""What endpoints ask for: the database and the settings of this process."""

from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Annotated, cast

from fastapi import Depends, Path, Query, Request

from api.callers import caller_of, is_local
from api.job_watch import JobWatch
from api.plan_desk import PlanDesk
from api.turns import Turns
from planner.schemas.plan_keeping import NAME_PATTERN
from planner.services.pagination import PAGE_LIMIT
from planner.settings import Settings
from planner.storage.database import Database


async def _database(request: Request) -> Database:
    return cast(Database, request.app.state.database)


def desk_of(request: Request) -> PlanDesk:
    """Where the plans of this process are made."""
    return cast(PlanDesk, request.app.state.desk)


def previews_of(request: Request) -> Turns:
    """Where plans of this process are made that nobody keeps."""
    return cast(Turns, request.app.state.previews)


def curves_of(request: Request) -> Turns:
    """Where frontiers of this process are made."""
    return cast(Turns, request.app.state.curves)


async def _watch(request: Request) -> JobWatch:
    return cast(JobWatch, request.app.state.watch)


async def _settings(request: Request) -> Settings:
    return cast(Settings, request.app.state.settings)


async def _roots(request: Request) -> Sequence[FilePath] | None:
    """The operator's; without any, every path for requests of this machine, whose sender could read it anyway, else none."""
    settings = await _settings(request)
    return settings.model_roots if settings.model_roots is not None else None if is_local(request.scope) else ()


async def _actor(request: Request) -> str:
    return caller_of(request.scope).name


DatabaseOf = Annotated[Database, Depends(_database)]
WatchOf = Annotated[JobWatch, Depends(_watch)]
RootsOf = Annotated[Sequence[FilePath] | None, Depends(_roots)]
"""Folders that the request may name files of; ``None`` for every path."""
ActorOf = Annotated[str, Depends(_actor)]
"""Who asks, for trails."""
ModelKey = Annotated[str, Path(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$", description="model id, or its name")]
PlanName = Annotated[str, Path(min_length=1, max_length=100, pattern=NAME_PATTERN, description="name of a plan")]
Reason = Annotated[str, Query(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$", description="reason, for the trail")]
IDENTITY_PATTERN, IDENTITY_LENGTH = r"^[0-9a-zA-Z]+$", 64
Identity = Annotated[str, Path(min_length=1, max_length=IDENTITY_LENGTH, pattern=IDENTITY_PATTERN, description="id")]
Cursor = Annotated[
    str | None,
    Query(min_length=1, max_length=200, pattern=r"^[0-9a-zA-Z_-]+$", description="`next` of the previous page"),
]
Limit = Annotated[int, Query(ge=1, le=PAGE_LIMIT, description="items of the page")]
