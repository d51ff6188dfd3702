"""Plans in the database: stored whole, never changed; those that are made at once in one transaction."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from sqlalchemy import bindparam, select
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import Session

from planner.errors import InvalidRequestError, NotFoundError
from planner.schemas.plans import PlanDocument
from planner.services.plan_parts import SheetChoices, load_plan, write_facts
from planner.services.plan_sheets import PlanSheet
from planner.services.planning_inputs import no_model
from planner.storage.database import Database
from planner.storage.failures import once_more_if_lost
from planner.storage.plan_rows import insert_plans
from planner.storage.plan_sheets import is_kept, keep_sheet
from planner.storage.tables import PlanDocumentRow

_STORED = select(PlanDocumentRow.plan_id).where(PlanDocumentRow.plan_id.in_(bindparam("plans", expanding=True)))

_BEYOND = (DataError, OverflowError)
"""What databases and their drivers raise of a value that a column does not hold."""
_QUICK = 1
_KEY_BYTES = 300
"""Of one name in the memory."""


@final
@dataclass(frozen=True, slots=True)
class WrittenPlan:
    """A plan as it will be stored, so that whoever has the database's one writer has nothing to compute.

    Attributes:
        id: of the plan.
        model: id of its model.
        columns: what it is searched by.
        document: its JSON, which is what REST answers.
        facts: what is stored of that: without its choices where they are in a sheet.
        sheet: what the choices were made from; ``None`` where all is in ``facts``.
        chosen: what was chosen of the sheet.
    """

    id: str
    model: str
    columns: dict[str, Any]
    document: str
    facts: str
    sheet: PlanSheet | None = None
    chosen: bytes | None = None

    @classmethod
    def of(cls, document: PlanDocument) -> "WrittenPlan":
        """Write a plan."""
        choices = SheetChoices.of(document)
        if choices is None:
            whole = document.model_dump_json()
            return cls(document.id, document.model, columns_of(document), whole, whole)
        return cls.beside(choices, columns_of(document), write_facts(document))

    @classmethod
    def beside(cls, choices: SheetChoices, columns: dict[str, Any], facts: str) -> "WrittenPlan":
        """A plan whose facts are written, with its choices."""
        sheet, chosen = choices.choices.sheet, choices.chosen.packed()
        return cls(columns["id"], columns["model_id"], columns, choices.beside(facts), facts, sheet, chosen)


def write_plan(document: PlanDocument) -> str:
    """The JSON of a plan, as ``model_dump_json`` has it. What it shares with other plans was written for them already."""
    return WrittenPlan.of(document).document


def store_plan(session: Session, document: PlanDocument) -> str:
    """Keep a plan that was made.

    Returns:
        The JSON that is kept, which is what REST answers.

    Raises:
        NotFoundError: the model was deleted since.
        InvalidRequestError: the database has no room for one of its numbers.
    """
    plan = WrittenPlan.of(document)
    try:
        _insert(session, [plan])
    except IntegrityError as error:  # of what the row refers to, only the model can be gone
        raise no_model(plan.model) from error
    except _BEYOND as error:
        raise _too_large() from error
    return plan.document


def store_together(database: Database, plans: Sequence[WrittenPlan]) -> list[NotFoundError | InvalidRequestError | None]:
    """Keep plans in one transaction; if one of them cannot be kept, each in one of its own.

    A transaction whose connection broke is made once more; if it had been committed, its plans are there and stay.

    Returns:
        For each plan what kept it from being stored: its model is gone, or the database has no room for one of its numbers.
        ``None`` for those that are stored for good.

    Raises:
        StorageError: the database cannot be written; none is stored, or those are that came before.
    """
    return once_more_if_lost(lambda: _store_together(database, plans))


def _store_together(database: Database, plans: Sequence[WrittenPlan]) -> list[NotFoundError | InvalidRequestError | None]:
    try:
        with database.session() as session:
            _insert(session, plans, trusting=True)
    except (IntegrityError, *_BEYOND):
        return [_store_alone(database, plan) for plan in plans]
    return [None] * len(plans)


def _store_alone(database: Database, plan: WrittenPlan) -> NotFoundError | InvalidRequestError | None:
    try:
        with database.session() as session:
            _insert(session, [plan])
    except IntegrityError:  # its model is gone, or it is stored already
        with database.read_session() as session:
            return None if _stored(session, [plan.id]) else no_model(plan.model)
    except _BEYOND:
        return _too_large()
    return None


def _too_large() -> InvalidRequestError:
    msg = "the plan has a number that the database cannot keep: lower context or batch, or ask for smaller limits"
    return InvalidRequestError(msg)


def _insert(session: Session, plans: Sequence[WrittenPlan], *, trusting: bool = False) -> None:
    """``trusting``: a sheet that this process stored or found once is there; if it is not, the plans cannot be inserted."""
    sheets = {plan.sheet.id: plan.sheet for plan in plans if plan.sheet is not None}
    keep = _remembered if trusting else _kept
    for sheet in sorted(sheets):  # one order for everybody: no deadlock
        keep(session, sheets[sheet])
    insert_plans(
        session,
        [plan.columns for plan in plans],
        [{"plan_id": plan.id, "document": plan.facts} for plan in plans],
        [{"plan_id": plan.id, "sheet_id": plan.sheet.id, "chosen": plan.chosen} for plan in plans if plan.sheet is not None],
    )


def _remembered(session: Session, sheet: PlanSheet) -> bool:
    return Database.of(session).memory.recall(
        ("stored sheet", sheet.id), lambda: _kept(session, sheet), size=lambda _: _KEY_BYTES
    )


def _kept(session: Session, sheet: PlanSheet) -> bool:
    """Most are there, for they were stored with the first plan of their question."""
    if not is_kept(session, sheet.id, sheet.model):
        keep_sheet(session, sheet.id, sheet.model, sheet.packed)
    return True


def get_plan(session: Session, plan_id: str) -> PlanDocument:
    """A stored plan.

    Raises:
        NotFoundError: no such plan.
    """
    stored = load_plan(session, plan_id)
    if stored is None:
        raise no_plan(plan_id)
    return stored.plan()


def plan_json(session: Session, plan_id: str) -> str:
    """A stored plan as REST answers it. Plans never change: written once in the words of this version, then remembered, packed.

    Raises:
        NotFoundError: no such plan.
    """
    (found,) = plans_json(session, [plan_id])
    if isinstance(found, NotFoundError):
        raise found
    return found.decode()


def read_together(database: Database, plan_ids: Sequence[str]) -> list[bytes | NotFoundError]:
    """``plan_json`` of several plans, in bytes; an error in place of one that does not exist.

    Raises:
        StorageError: the database cannot be read.
    """

    def read() -> list[bytes | NotFoundError]:
        with database.read_session(together=False) as session:
            return plans_json(session, plan_ids)

    return once_more_if_lost(read)


def plans_json(session: Session, plan_ids: Sequence[str]) -> list[bytes | NotFoundError]:
    """``plan_json`` of several plans, in bytes: one query asks whether they are still there."""
    known = _stored(session, plan_ids)
    return [_plan_json(session, plan_id) if plan_id in known else no_plan(plan_id) for plan_id in plan_ids]


def _stored(session: Session, plan_ids: Sequence[str]) -> set[str]:
    return set(session.connection().scalars(_STORED, {"plans": list(plan_ids)}))


def _plan_json(session: Session, plan_id: str) -> bytes | NotFoundError:
    def pack() -> bytes:
        return zlib.compress(write_plan(get_plan(session, plan_id)).encode(), _QUICK)

    try:
        return zlib.decompress(Database.of(session).memory.recall(("plan", plan_id), pack, size=len))
    except NotFoundError as gone:  # since a moment ago
        return gone


def no_plan(plan_id: str) -> NotFoundError:
    """What is said of an id that no plan has."""
    return NotFoundError(f"no plan {plan_id!r}: see bitplan plans list, or GET /v1/plans", plan=plan_id)


def columns_of(document: PlanDocument) -> dict[str, Any]:
    """What a plan is searched by."""
    budget = document.budget.first
    return {
        "id": document.id,
        "model_id": document.model,
        "setting_id": document.provenance.setting,
        "probe": document.predicted.probe,
        "rounding": document.provenance.rounding,
        "runtime": document.runtime,
        "solver": document.proof.solver,
        "status": document.proof.status,
        "budget": document.budget.model_dump(mode="json"),
        "budget_kind": budget.kind.value,
        "budget_value": budget.value,
        "size_bits": document.size.layer_bits,
        "file_bytes": document.size.file_bytes,
        "effective_bits": document.size.effective_bits,
        "predicted_loss": document.predicted.loss,
        "gap": document.proof.gap,
        "created_at": document.created_at,
    }
