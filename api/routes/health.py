"""Whether the process answers, whether it can work, and its figures. None of it waits behind other requests."""

from typing import Annotated, cast

from anyio import CapacityLimiter, fail_after
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request, Response

from api.dependencies import DatabaseOf
from api.endpoint import needs
from api.metrics import MEDIA_TYPE, Metrics
from planner.errors import StorageError
from planner.schemas.problems import Health
from planner.versions import BITPLAN_VERSION

VERSION = BITPLAN_VERSION
HEALTH_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
"""What machines ask all the time: never refused for load, not traced, and logged for debugging only."""
READY_SECONDS = 3.0
router = APIRouter(tags=["health"])


async def _metrics(request: Request) -> Metrics:
    return cast(Metrics, request.app.state.metrics)


async def _readiness(request: Request) -> CapacityLimiter:
    return cast(CapacityLimiter, request.app.state.readiness)


@router.get("/healthz")
@needs(None)
async def healthz() -> Health:
    """The process answers."""
    return Health(version=VERSION)


@router.get("/readyz")
@needs(None)
async def readyz(database: DatabaseOf, limiter: Annotated[CapacityLimiter, Depends(_readiness)]) -> Health:
    """The database answers in time and has this version's schema; else a 503 problem whose type says which of them is amiss."""
    try:
        with fail_after(READY_SECONDS):
            await run_sync(database.check_version, limiter=limiter, abandon_on_cancel=True)
    except TimeoutError:
        msg = f"the database did not answer within {READY_SECONDS:g} seconds"
        raise StorageError(msg) from None
    return Health(version=VERSION)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text format"}},
)
async def metrics(meters: Annotated[Metrics, Depends(_metrics)]) -> Response:
    """Figures of this process and of the queue, for Prometheus."""
    return Response(await meters.exposition(), media_type=MEDIA_TYPE)
