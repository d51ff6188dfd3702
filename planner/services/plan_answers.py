"""Plans for requests that were answered before: written once, then given a new id and time.

A proven plan follows from its request and the measurements. Whoever asks again, to the letter, while nothing was measured, gets
the same plan as a new document, without solving, explaining or writing it again.
"""

import secrets
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, final

from pydantic_core import to_json
from sqlalchemy.orm import Session

import solvers
from planner.schemas.plans import PlanDocument, PlanRequest
from planner.services.plan_parts import SheetChoices
from planner.services.plan_store import WrittenPlan, columns_of
from planner.services.plans import answer_facts
from planner.services.preparing import Moment, prepare
from planner.storage.tables import utc_now
from planner.telemetry import PlanReport, report_plan

_COLUMNS_BYTES: Final = 2000
_REFERENCES_BYTES: Final = 8
"""Of a place in a list of choices, which are the sheet's, and in an array."""


@final
@dataclass(frozen=True, slots=True)
class WrittenAnswer:
    """A plan without what each of its documents has of its own.

    Attributes:
        columns: what it is searched by; id and time are those of the first document.
        facts: its JSON without choices, and without id and time, with which it begins.
        choices: what it gives layers and groups.
        report: how it came about.
    """

    columns: dict[str, Any]
    facts: str
    choices: SheetChoices
    report: PlanReport

    @classmethod
    def of(cls, facts: PlanDocument, written: WrittenPlan, choices: SheetChoices) -> "WrittenAnswer":
        """What documents of a plan share."""
        proof = facts.proof
        report = PlanReport(proof.solver, proof.status, proof.gap, proof.solve_seconds)
        shared = replace(choices, made=None) if choices.choices.is_full else choices  # what nobody shares is made again
        return cls(written.columns, written.facts.removeprefix(_head(facts.id, facts.created_at)), shared, report)

    def again(self) -> WrittenPlan:
        """A new document of it, now; whoever watches this process hears of it."""
        plan, now = secrets.token_hex(12), utc_now()
        report_plan(self.report)
        columns = self.columns | {"id": plan, "created_at": now}
        return WrittenPlan.beside(self.choices, columns, _head(plan, now) + self.facts)

    @property
    def bytes(self) -> int:
        """About what it takes, beside the choices of its question."""
        sheet = self.choices.choices.sheet
        parts = len(sheet.names) + 4 * len(sheet.bits)  # two lists of choices, three arrays of what was chosen
        return len(self.facts) + _COLUMNS_BYTES + _REFERENCES_BYTES * parts


def written_plan(session: Session, request: PlanRequest, moment: Moment) -> WrittenPlan:
    """``make_plan``, written: from memory if the same was asked and the answer follows from request and measurements alone.

    Args:
        session: where curves are read.
        request: what is asked for.
        moment: as of which measurements count, after the request had come.

    Raises:
        PlannerError: as ``make_plan`` raises them.
    """
    stop = solvers.Deadline.after(request.deadline_seconds)
    prepared = prepare(session, request, moment)
    first: list[WrittenPlan] = []

    def make() -> WrittenAnswer | None:
        facts, chosen = answer_facts(session, prepared, request, stop)
        choices = SheetChoices.made_from(prepared.choices, chosen)
        written = WrittenPlan.beside(choices, columns_of(facts), facts.model_dump_json())
        first.append(written)
        return WrittenAnswer.of(facts, written, choices) if choices.made and _is_final(facts, stop) else None

    found = prepared.answers.recall(request.model_dump_json(), make, size=_kept_bytes)
    return first[0] if first or found is None else found.again()


def _head(plan: str, created_at: datetime) -> str:
    return f'{{"id":"{plan}","created_at":{to_json(created_at).decode()},'


def _is_final(facts: PlanDocument, stop: solvers.Deadline) -> bool:
    """More time would find nothing else, and nothing but measurements is behind it; of devices other numbers may be put."""
    smallest = facts.proof.smallest
    proven = facts.proof.status == solvers.Status.OPTIMAL.name.lower()
    whole = smallest is None or smallest.bits == smallest.least_bits
    return proven and whole and facts.provenance.device is None and not stop.passed()


def _kept_bytes(found: WrittenAnswer | None) -> int | None:
    return None if found is None else found.bytes
