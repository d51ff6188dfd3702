"""Calibration sets: a text and how to cut it, kept by content so that every worker cuts the same tokens."""

import zlib
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from planner.errors import InvalidRequestError, NotFoundError
from planner.schemas.calibrations import Calibration, CalibrationPage, CreateCalibration
from planner.schemas.plans import PlanDocument
from planner.services.confinement import confine
from planner.services.pagination import page
from planner.storage.tables import CalibrationSetRow
from sensitivity.calibration import BUILTIN, CalibrationSpec, fingerprint, read_text
from sensitivity.errors import CalibrationError

_INLINE = "text of the request"


def prepare(request: CreateCalibration, *, roots: Sequence[Path] | None = None) -> CalibrationSetRow:
    """Read, check and compress the text. Needs no database: do it before a transaction begins.

    Args:
        request: what to read and how to cut it.
        roots: folders that a file must lie in; ``None`` allows every file.

    Raises:
        InvalidRequestError: a file outside the roots.
        CalibrationError: an empty or unreadable text, or one that cannot have the tokens asked for.
    """
    text, label = _read(request, roots)
    spec = CalibrationSpec(
        sequences=request.sequences,
        sequence_length=request.sequence_length,
        held_out_sequences=request.held_out_sequences,
        held_out_length=request.held_out_length,
        seed=request.seed,
    )
    _refuse_short(text, spec)
    return CalibrationSetRow(
        id=fingerprint(text, spec),
        name=request.name or label[:200],
        source=label,
        sequences=spec.sequences,
        sequence_length=spec.sequence_length,
        held_out_sequences=spec.held_out_sequences,
        held_out_length=spec.held_out_length,
        seed=spec.seed,
        characters=len(text),
        text=zlib.compress(text.encode()),
    )


def create(session: Session, prepared: CalibrationSetRow) -> tuple[Calibration, bool]:
    """Store a prepared calibration set; the same text cut in the same way is the same set, whatever it is called.

    Returns:
        The set, and whether it is new.
    """
    known = session.get(CalibrationSetRow, prepared.id)
    if known is None:
        try:
            with session.begin_nested():
                session.add(prepared)
        except IntegrityError:
            known = session.get_one(CalibrationSetRow, prepared.id)
    return (_document(prepared), True) if known is None else (_document(known), False)


def text_of_plan(document: PlanDocument, asked: str | None) -> str:
    """Id of the calibration set asked for, else of that of a plan's curves.

    Raises:
        InvalidRequestError: neither is there.
    """
    found = asked or document.provenance.calibration
    if found is None:
        msg = (
            "name a calibration set: the curves of this plan were made without text (bitplan calibrations add, or POST "
            "/v1/calibrations, makes one)"
        )
        raise InvalidRequestError(msg)
    return found


def find_calibration(session: Session, key: str) -> CalibrationSetRow:
    """A calibration set by id, or by name (the newest of that name).

    Raises:
        NotFoundError: neither exists.
    """
    row = session.get(CalibrationSetRow, key)
    if row is None:
        by_name = select(CalibrationSetRow).where(CalibrationSetRow.name == key)
        row = session.scalar(by_name.order_by(CalibrationSetRow.created_at.desc()).limit(1))
    if row is None:
        msg = f"no calibration set {key!r}: create it first (bitplan calibrations add, or POST /v1/calibrations)"
        raise NotFoundError(msg, calibration=key)
    return row


def get_calibration(session: Session, key: str) -> Calibration:
    """A calibration set by id, or by name.

    Raises:
        NotFoundError: neither exists.
    """
    return _document(find_calibration(session, key))


def list_calibrations(session: Session, *, cursor: str | None = None, limit: int = 50) -> CalibrationPage:
    """Calibration sets, newest first.

    Raises:
        InvalidRequestError: a cursor that no page gave.
    """
    key = (CalibrationSetRow.created_at, CalibrationSetRow.id)
    rows, following = page(session, select(CalibrationSetRow), key=key, cursor=cursor, limit=limit)
    return CalibrationPage(items=[_document(row[0]) for row in rows], next=following)


def _read(request: CreateCalibration, roots: Sequence[Path] | None) -> tuple[str, str]:
    if request.text is not None:
        if not request.text.strip():
            msg = "the text is empty; give some thousand words, or source 'builtin' for the built-in English text"
            raise CalibrationError(msg)
        return request.text, _INLINE
    source = request.source or BUILTIN
    if source == BUILTIN:
        return read_text(source)
    confine(source, roots)
    read = read_text(source)
    confine(source, roots)  # a link may have come in its place meanwhile
    return read


def _refuse_short(text: str, spec: CalibrationSpec) -> None:
    """A token takes at least one byte, so a text of fewer bytes cannot have the tokens that are asked for."""
    size = len(text.encode())
    if size < spec.tokens:
        msg = (
            f"the text has {size} bytes, so at most as many tokens, but {spec.tokens} are needed: "
            f"{spec.sequences} x {spec.sequence_length} for calibration and {spec.held_out_sequences} x {spec.held_out_length} "
            "held out; give a longer text, or fewer or shorter sequences"
        )
        raise CalibrationError(msg)


def _document(row: CalibrationSetRow) -> Calibration:
    return Calibration(
        id=row.id,
        name=row.name,
        source=row.source,
        sequences=row.sequences,
        sequence_length=row.sequence_length,
        held_out_sequences=row.held_out_sequences,
        held_out_length=row.held_out_length,
        seed=row.seed,
        characters=row.characters,
        created_at=row.created_at,
    )
