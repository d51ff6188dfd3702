"""Devices: those that come with bitplan, and those that users store with what was measured on them."""

import difflib
import zlib
from functools import cache
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from planner.devices import Device, LatencyTable
from planner.devices.catalogue import built_in_devices
from planner.errors import ConflictError, InvalidRequestError, NotFoundError
from planner.schemas.devices import CreateDevice, DeviceDocument, DeviceFacts, DeviceList, LatencyTableDocument, PutLatencies
from planner.storage.database import Database
from planner.storage.tables import DeviceRow

MOST_DEVICES: Final = 500
"""Stored devices; lists are not paged."""
_ENTRY_BYTES: Final = 300


def get_device(session: Session, name: str) -> Device:
    """The device of that name, with what was measured on it.

    Raises:
        NotFoundError: there is none; the message names those that are called nearly so.
    """
    if name in built_in_devices():
        return _known(name)
    version = session.scalar(select(DeviceRow.digest).where(DeviceRow.name == name))
    if version is None:
        raise _no_device(session, name)
    return Database.of(session).memory.recall(
        ("device", name), lambda: _load(session, name), size=lambda made: _ENTRY_BYTES * (20 + len(made.table)), version=version
    )


def create_device(session: Session, request: CreateDevice) -> tuple[DeviceDocument, bool]:
    """Store a device; the same facts under the same name are the same device.

    Returns:
        The device, and whether it is new.

    Raises:
        ConflictError: the name is taken.
        InvalidRequestError: there are as many devices as can be stored.
    """
    facts = DeviceFacts.model_validate(request.model_dump())
    if request.name in built_in_devices():
        msg = f"the device {request.name} comes with bitplan: give yours another name"
        raise ConflictError(msg, device=request.name)
    row = session.get(DeviceRow, request.name)
    if row is None:
        row, created = _insert(session, facts)
        if created:
            return _document(row), True
    if row.facts != facts.model_dump(mode="json"):
        msg = f"another device is called {request.name}: choose a different name, or delete that one first"
        raise ConflictError(msg, device=request.name)
    return _document(row), False


def describe_device(session: Session, name: str) -> DeviceDocument:
    """A device as REST shows it.

    Raises:
        NotFoundError: there is none of that name.
    """
    return _built_in(name) if name in built_in_devices() else _document(_find(session, name))


def list_devices(session: Session) -> DeviceList:
    """Devices that come with bitplan, then stored ones by name."""
    stored = sorted(session.scalars(select(DeviceRow)), key=lambda row: row.name)
    return DeviceList(items=[*map(_built_in, built_in_devices()), *map(_document, stored)])


def delete_device(session: Session, name: str) -> None:
    """Forget a device and its table. Plans that were made for it stay as they are: they carry what they were made with.

    Raises:
        NotFoundError: there is none of that name.
        InvalidRequestError: it comes with bitplan.
    """
    session.delete(_stored(session, name))


def put_latencies(session: Session, name: str, request: PutLatencies) -> DeviceDocument:
    """Replace what was measured on a device.

    Raises:
        NotFoundError: there is none of that name.
        InvalidRequestError: it comes with bitplan, or the table cannot be read.
    """
    document, row = request.document(), _stored(session, name)
    row.latencies = zlib.compress(document.model_dump_json().encode())
    row.measured_entries = len(document.entries)
    row.digest = Device(DeviceFacts.model_validate(row.facts).profile(), document.table()).digest
    session.flush()
    return _document(row)


def get_latencies(session: Session, name: str) -> LatencyTableDocument:
    """What was measured on a device.

    Raises:
        NotFoundError: there is no such device, or nothing was measured on it.
    """
    row = None if name in built_in_devices() else _find(session, name)
    if row is None or row.latencies is None:
        msg = f"nothing was measured on the device {name}: bitplan device measure, or PUT /v1/devices/{name}/latencies"
        raise NotFoundError(msg, device=name)
    return _table(row.latencies)


def _insert(session: Session, facts: DeviceFacts) -> tuple[DeviceRow, bool]:
    if (session.scalar(select(func.count()).select_from(DeviceRow)) or 0) >= MOST_DEVICES:
        msg = f"{MOST_DEVICES} devices are stored, and no more fit: delete some that are not used"
        raise InvalidRequestError(msg)
    row = DeviceRow(name=facts.name, facts=facts.model_dump(mode="json"), digest=Device(facts.profile()).digest)
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        return session.get_one(DeviceRow, facts.name), False
    return row, True


def _load(session: Session, name: str) -> Device:
    row = _find(session, name)
    table = LatencyTable() if row.latencies is None else _table(row.latencies).table()
    return Device(DeviceFacts.model_validate(row.facts).profile(), table)


def _table(stored: bytes) -> LatencyTableDocument:
    return LatencyTableDocument.model_validate_json(zlib.decompress(stored))


def _find(session: Session, name: str) -> DeviceRow:
    row = session.get(DeviceRow, name)
    if row is None:
        raise _no_device(session, name)
    return row


def _stored(session: Session, name: str) -> DeviceRow:
    if name in built_in_devices():
        msg = f"the device {name} comes with bitplan and stays as it is: store one of your own under another name"
        raise InvalidRequestError(msg, device=name)
    return _find(session, name)


def _no_device(session: Session, name: str) -> NotFoundError:
    names = [*built_in_devices(), *session.scalars(select(DeviceRow.name).order_by(DeviceRow.name))]
    lower = {known.lower(): known for known in names}
    close = [lower[found] for found in difflib.get_close_matches(name.lower(), lower, n=3)] or names[:5]
    msg = f"no device {name!r}; close to it: {', '.join(close)}. `bitplan device list` shows all, `bitplan device add` stores one"
    return NotFoundError(msg, device=name, close=close)


@cache
def _known(name: str) -> Device:
    return Device(built_in_devices()[name].profile())


def _built_in(name: str) -> DeviceDocument:
    facts = built_in_devices()[name].model_dump()
    return DeviceDocument(**facts, built_in=True, digest=_known(name).digest, measured_entries=0)


def _document(row: DeviceRow) -> DeviceDocument:
    return DeviceDocument.model_validate(
        row.facts
        | {
            "built_in": False,
            "digest": row.digest,
            "measured_entries": row.measured_entries,
            "created_at": row.created_at,
        }
    )
