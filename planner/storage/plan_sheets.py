"""The repository of plan sheets: what plans of one question share, stored once under its hash."""

from collections.abc import Mapping, Sequence

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from planner.storage.tables import Base, PlanChoicesRow, PlanSheetRow, utc_now

_TABLE = Base.metadata.tables[PlanSheetRow.__tablename__]
_KNOWN = select(PlanSheetRow.id).where(PlanSheetRow.id.in_(bindparam("sheets", expanding=True)))
_KNOWN = _KNOWN.with_for_update(read=True, key_share=True)  # PostgreSQL: none of them is deleted before this transaction's end


def known_sheets(session: Session, sheets: Sequence[str]) -> set[str]:
    """Those of some ids that are stored, and stay until the end of the transaction."""
    return set(session.connection().scalars(_KNOWN, {"sheets": list(sheets)}))


def keep_sheets(session: Session, sheets: Mapping[str, tuple[str, bytes]]) -> None:
    """Store sheets by their ids, each with the id of its model; those that somebody else stored meanwhile are the same."""
    connection = session.connection()
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(_TABLE)
    now = utc_now()
    rows = [
        {"id": sheet, "model_id": model, "sheet": packed, "created_at": now}
        for sheet, (model, packed) in sorted(sheets.items())  # one order for everybody: no deadlock
    ]
    connection.execute(insert.on_conflict_do_nothing(index_elements=["id"]), rows)


def load_sheet(session: Session, sheet: str) -> bytes:
    """A sheet that a plan of this transaction refers to."""
    return session.scalars(select(PlanSheetRow.sheet).where(PlanSheetRow.id == sheet)).one()


def forget_unused_sheet(session: Session, sheet: str) -> None:
    """Delete a sheet unless a plan refers to it.

    Whoever stores a plan of the sheet meanwhile is waited for, and counts; whoever comes later finds it gone and stores it anew.
    """
    if session.scalar(select(PlanSheetRow.id).where(PlanSheetRow.id == sheet).with_for_update()) is None:
        return
    if session.scalar(select(PlanChoicesRow.plan_id).where(PlanChoicesRow.sheet_id == sheet).limit(1)) is None:
        session.execute(delete(PlanSheetRow).where(PlanSheetRow.id == sheet))
