"""Whether the process answers, whether it can work, and its figures. None of it waits behind other requests."""

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request, Response

from api.endpoint import needs
from api.metrics import MEDIA_TYPE, Metrics
from api.readiness import Readiness
from planner.schemas.problems import Health
from planner.versions import BITPLAN_VERSION

VERSION = BITPLAN_VERSION
HEALTH_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
"""What machines ask all the time: never refused for load, not traced, and logged for debugging only."""
router = APIRouter(tags=["health"])


async def _metrics(request: Request) -> Metrics:
    return cast(Metrics, request.app.state.metrics)


async def _readiness(request: Request) -> Readiness:
    return cast(Readiness, request.app.state.readiness)


@router.get("/healthz")
@needs(None)
async def healthz() -> Health:
    """The process answers."""
    return Health(version=VERSION)


@router.get("/readyz")
@needs(None)
async def readyz(readiness: Annotated[Readiness, Depends(_readiness)]) -> Health:
    """The database answers in time and has this version's schema; else a 503 problem whose type says which of them is amiss."""
    await readiness.check()
    return Health(version=VERSION)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text format"}},
)
async def metrics(meters: Annotated[Metrics, Depends(_metrics)]) -> Response:
    """Figures of this process and of the queue, for Prometheus."""
    return Response(await meters.exposition(), media_type=MEDIA_TYPE)
