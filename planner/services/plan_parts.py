"""A plan in two parts: what it says by itself, as JSON, and what it chose of the sheet that plans of its question share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from pydantic_core import from_json
from sqlalchemy import bindparam, select
from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import Session

from planner.schemas.choices import Choice, GroupChoice
from planner.schemas.plans import PlanDocument
from planner.services.collector import collector_paused
from planner.services.plan_choices import FromSheet, PlanChoices, written
from planner.services.plan_sheets import Chosen, PlanSheet
from planner.storage.database import Database
from planner.storage.plan_sheets import load_sheet
from planner.storage.tables import PlanChoicesRow, PlanDocumentRow

_NO_CHOICES: Final = '"choices":[],"groups":[]'
"""What no text in JSON has: quotes within it are escaped."""

_STORED: Final = (
    select(PlanDocumentRow.document, PlanChoicesRow.sheet_id, PlanChoicesRow.chosen)
    .outerjoin(PlanChoicesRow, PlanChoicesRow.plan_id == PlanDocumentRow.plan_id)
    .where(PlanDocumentRow.plan_id == bindparam("plan"))
)


@final
@dataclass(frozen=True, slots=True)
class SheetChoices:
    """The choices of a plan that come from one sheet.

    Attributes:
        choices: of the sheet.
        chosen: what the plan chose of them.
        made: choices of every layer in model order, and of every layer group; ``None`` of very many layers, until somebody asks.
    """

    choices: PlanChoices
    chosen: Chosen
    made: tuple[Sequence[Choice], Sequence[GroupChoice]] | None

    @classmethod
    def of(cls, document: PlanDocument) -> "SheetChoices | None":
        """Those of a plan; ``None`` where they were not made from a sheet, or changed since."""
        layers, groups = document.choices, document.groups
        if isinstance(layers, FromSheet) and isinstance(groups, FromSheet) and layers.chosen is groups.chosen:
            return cls(layers.choices, layers.chosen, (layers, groups))
        return None

    @classmethod
    def made_from(cls, choices: PlanChoices, chosen: Chosen) -> "SheetChoices":
        """Those of a plan that is to be written."""
        made = None if choices.are_very_many else (choices.of_layers(chosen), choices.of_groups(chosen))
        return cls(choices, chosen, made)

    def beside(self, facts: str) -> str:
        """The JSON of the whole plan."""
        if self.made is None or self.choices.are_very_many:
            layers, groups = self.choices.written(self.chosen)
        else:
            layers, groups = written(self.made[0]), written(self.made[1])
        before, _, after = facts.partition(_NO_CHOICES)
        return f'{before}"choices":[{layers}],"groups":[{groups}]{after}'


def write_facts(document: PlanDocument) -> str:
    """The JSON of a plan without its choices."""
    return document.model_copy(update={"choices": [], "groups": []}).model_dump_json()


@final
@dataclass(frozen=True, slots=True)
class StoredPlan:
    """A plan as the database has it.

    Attributes:
        document: its JSON, without its choices if they are in a sheet.
        choices: those of its sheet; ``None`` in a plan that was stored whole.
        chosen: what the plan chose of them.
    """

    document: str
    choices: PlanChoices | None
    chosen: Chosen | None

    def plan(self) -> PlanDocument:
        """The plan."""
        found = PlanDocument.model_validate_json(self.document)
        if self.choices is None or self.chosen is None:
            return found
        return found.model_copy(update=self.choices.of(self.chosen))

    def raw(self) -> dict[str, Any]:
        """Its JSON as Python has it; no document is made of 88,000 choices."""
        with collector_paused:
            found: dict[str, Any] = from_json(self.document)
            if self.choices is not None and self.chosen is not None:
                found["choices"], found["groups"] = self.choices.sheet.fields(self.chosen)
        return found


def load_plan(session: Session, plan_id: str) -> StoredPlan | None:
    """A stored plan; ``None`` if there is none."""
    row = session.execute(_STORED, {"plan": plan_id}).one_or_none()
    if row is None or row.sheet_id is None:
        return None if row is None else StoredPlan(row.document, None, None)
    sheet_id = row.sheet_id
    try:
        choices = Database.of(session).memory.recall(
            ("sheet", sheet_id),
            lambda: PlanChoices(PlanSheet.unpacked(load_sheet(session, sheet_id))),
            size=lambda made: made.bytes,
        )
    except NoResultFound:  # it went with its last plan, which is this one, a moment ago
        return None
    return StoredPlan(row.document, choices, Chosen.unpacked(row.chosen))
