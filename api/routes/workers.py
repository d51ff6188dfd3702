"""Workers: who is there."""

from fastapi import APIRouter

from api.dependencies import DatabaseOf
from api.endpoint import Endpoint
from planner.schemas.workers import WorkerList
from planner.services import workers

router = APIRouter(prefix="/v1/workers", tags=["workers"], route_class=Endpoint)


@router.get("")
def list_workers(database: DatabaseOf) -> WorkerList:
    """Workers that are there, and those that went within a day, with what each works on."""
    with database.read_session() as session:
        return workers.list_workers(session)
