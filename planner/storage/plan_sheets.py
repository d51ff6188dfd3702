"""The repository of plan sheets: what plans of one question share, stored once under its hash."""

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from planner.storage.tables import Base, ModelRow, PlanChoicesRow, PlanSheetRow, utc_now

_TABLE = Base.metadata.tables[PlanSheetRow.__tablename__]
_KEPT = select(PlanSheetRow.id).where(PlanSheetRow.id == bindparam("sheet")).with_for_update(read=True, key_share=True)
_MODEL = select(ModelRow.id).where(ModelRow.id == bindparam("model")).with_for_update(read=True, key_share=True)


def is_kept(session: Session, sheet: str, model: str) -> bool:
    """Whether a sheet is stored; then it stays until the end of the transaction.

    Its model is held first, as by whoever deletes a model with its sheets: they wait for each other in one order.
    """
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        connection.execute(_MODEL, {"model": model})
    return connection.scalar(_KEPT, {"sheet": sheet}) is not None


def keep_sheet(session: Session, sheet: str, model: str, packed: bytes) -> None:
    """Store a sheet of a model by its id; one that somebody else stored meanwhile is the same, and is held as a new one is.

    Raises:
        IntegrityError: the model is gone.
    """
    connection = session.connection()
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(_TABLE)
    row = {"id": sheet, "model_id": model, "sheet": packed, "created_at": utc_now()}
    connection.execute(insert.on_conflict_do_update(index_elements=["id"], set_={"model_id": model}), row)


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
