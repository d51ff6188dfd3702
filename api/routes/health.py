"""Whether the process answers, and whether it can work."""

from fastapi import APIRouter

from api.dependencies import DatabaseOf
from planner.schemas.problems import Health
from planner.versions import BITPLAN_VERSION

VERSION = BITPLAN_VERSION
router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> Health:
    """The process answers."""
    return Health(version=VERSION)


@router.get("/readyz")
def readyz(database: DatabaseOf) -> Health:
    """The database answers and has this version's schema; 503 otherwise."""
    database.check_version()
    return Health(version=VERSION)
