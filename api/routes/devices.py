"""Devices and their measured latencies."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from api.dependencies import DatabaseOf
from api.endpoint import Endpoint, needs
from planner.schemas.devices import (
    DEVICE_PATTERN,
    CreateDevice,
    DeviceDocument,
    DeviceList,
    LatencyTableDocument,
    PutLatencies,
)
from planner.schemas.keys import AccessScope
from planner.services import devices

router = APIRouter(prefix="/v1/devices", tags=["devices"], route_class=Endpoint)

DeviceKey = Annotated[str, Path(min_length=1, max_length=100, pattern=DEVICE_PATTERN, description="name of a device")]


@router.post("", status_code=201, responses={200: {"model": DeviceDocument, "description": "This device exists already"}})
@needs(AccessScope.MEASURE)
def create_device(request: CreateDevice, database: DatabaseOf, response: Response) -> DeviceDocument:
    """Keep a device of your own. The same facts under the same name are the same device."""
    with database.session() as session:
        device, created = devices.create_device(session, request)
    response.status_code = 201 if created else 200
    response.headers["location"] = f"/v1/devices/{device.name}"
    return device


@router.get("")
def list_devices(database: DatabaseOf) -> DeviceList:
    """Devices that come with bitplan, then stored ones by name."""
    with database.read_session() as session:
        return devices.list_devices(session)


@router.get("/{device}")
def get_device(device: DeviceKey, database: DatabaseOf) -> DeviceDocument:
    """One device: every figure with its source, and whether that was verified."""
    with database.read_session() as session:
        return devices.describe_device(session, device)


@router.delete("/{device}", status_code=204)
@needs(AccessScope.MEASURE)
def delete_device(device: DeviceKey, database: DatabaseOf) -> None:
    """Forget a device and its table. Plans that were made for it stay as they are."""
    with database.session() as session:
        devices.delete_device(session, device)


@router.put("/{device}/latencies")
@needs(AccessScope.MEASURE)
def put_latencies(device: DeviceKey, request: PutLatencies, database: DatabaseOf) -> DeviceDocument:
    """Replace what was measured on a device: plans take these times wherever there is one, and the roofline elsewhere."""
    with database.session() as session:
        return devices.put_latencies(session, device, request)


@router.get("/{device}/latencies")
def get_latencies(device: DeviceKey, database: DatabaseOf) -> LatencyTableDocument:
    """What was measured on a device, and how."""
    with database.read_session() as session:
        return devices.get_latencies(session, device)
