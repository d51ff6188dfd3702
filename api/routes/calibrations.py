"""Calibration sets."""

from fastapi import APIRouter, Response

from api.dependencies import Cursor, DatabaseOf, Limit, ModelKey, RootsOf
from api.endpoint import Endpoint, needs
from planner.schemas.calibrations import Calibration, CalibrationPage, CreateCalibration
from planner.schemas.keys import AccessScope
from planner.services import calibrations

router = APIRouter(prefix="/v1/calibrations", tags=["calibrations"], route_class=Endpoint)


@router.post("", status_code=201, responses={200: {"model": Calibration, "description": "This set exists already"}})
@needs(AccessScope.MEASURE)
def create_calibration(request: CreateCalibration, database: DatabaseOf, roots: RootsOf, response: Response) -> Calibration:
    """Keep a text and how to cut it. The same text cut in the same way is the same set."""
    prepared = calibrations.prepare(request, roots=roots)
    with database.session() as session:
        calibration, created = calibrations.create(session, prepared)
    response.status_code = 201 if created else 200
    response.headers["location"] = f"/v1/calibrations/{calibration.id}"
    return calibration


@router.get("")
def list_calibrations(database: DatabaseOf, cursor: Cursor = None, limit: Limit = 50) -> CalibrationPage:
    """Calibration sets, newest first."""
    with database.read_session() as session:
        return calibrations.list_calibrations(session, cursor=cursor, limit=limit)


@router.get("/{calibration}")
def get_calibration(calibration: ModelKey, database: DatabaseOf) -> Calibration:
    """One calibration set, without its text."""
    with database.read_session() as session:
        return calibrations.get_calibration(session, calibration)
