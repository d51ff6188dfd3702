"""What plans of one question share is stored once, and every plan is read as it was made."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydantic_core import from_json
from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

from planner.errors import NotFoundError
from planner.schemas.plans import PlanDocument, PlanRequest
from planner.services import plan_choices, plan_parts, plan_pins
from planner.services.plan_parts import StoredPlan, load_plan
from planner.services.plan_sheets import Chosen, PlanSheet
from planner.services.plan_store import WrittenPlan, get_plan, plan_json, store_plan, store_together
from planner.services.plan_views import view_plan
from planner.services.plans import create_plan, make_plan
from planner.services.preparing import prepare
from planner.storage.database import Database
from planner.storage.memory import Memory
from planner.storage.plan_sheets import load_sheet
from planner.storage.tables import ModelRow, PlanChoicesRow, PlanDocumentRow, PlanRow, PlanSheetRow
from tests import synthetic


@pytest.fixture
def measured(database: Database) -> Database:
    described = synthetic.description()
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)))
    return database


def asked(bits: float, **more: object) -> PlanRequest:
    return PlanRequest.model_validate({"model": "toy", "budget": {"effective_bits": bits}, **more})


def created(database: Database, bits: float, **more: object) -> PlanDocument:
    with database.session() as session:
        return create_plan(session, asked(bits, **more))


def sheets(database: Database) -> int:
    with database.read_session() as session:
        return session.scalar(select(func.count()).select_from(PlanSheetRow)) or 0


def sheet_of(database: Database, bits: float = 4.25, **more: object) -> PlanSheet:
    with database.read_session() as session:
        return prepare(session, asked(bits, **more)).choices.sheet


@pytest.mark.parametrize(
    "more", [{}, {"runtime": "vllm"}, {"formats": ["INT4_G64", "INT8_G64"]}, {"pins": {"*.q_proj": "INT8_G64"}}]
)
@pytest.mark.parametrize("very_many", [False, True])
def test_a_plan_is_read_as_it_was_made(
    measured: Database, monkeypatch: pytest.MonkeyPatch, more: dict[str, object], *, very_many: bool
) -> None:
    if very_many:
        monkeypatch.setattr(plan_choices, "MOST_KEPT", 1)
    plan = created(measured, 4.75, **more)
    measured.memory = Memory(2**22)  # another process
    with measured.read_session() as session:
        stored = load_plan(session, plan.id)
        assert stored is not None
        assert stored.choices is not None
        assert '"choices":[],"groups":[]' in stored.document
        assert get_plan(session, plan.id) == plan
        assert plan_json(session, plan.id) == plan.model_dump_json()
        whole = from_json(plan.model_dump_json())
        assert stored.raw() == whole
        assert list(stored.raw()) == list(whole)
        view = view_plan(session, plan.id)
    assert (view.choices, view.groups) == (whole["choices"], whole["groups"])
    assert [list(part) for part in view.groups] == [list(part) for part in whole["groups"]]


def test_plans_of_one_question_share_a_sheet_that_goes_with_the_last_of_them(measured: Database) -> None:
    first, second, other = created(measured, 4.25), created(measured, 5.5), created(measured, 5.5, runtime="vllm")
    assert sheets(measured) == 2
    for plan, left in ((first, 2), (second, 1), (other, 0)):
        with measured.session() as session:
            plan_pins.delete_plan(session, plan.id, who="tester")
        assert sheets(measured) == left
    again = created(measured, 4.25)  # the sheet is remembered here, and stored no more
    assert sheets(measured) == 1
    with measured.read_session() as session:
        assert get_plan(session, again.id).choices == first.choices


def test_a_model_takes_its_plans_and_sheets_along(measured: Database) -> None:
    created(measured, 4.25)
    with measured.session() as session:
        session.execute(delete(ModelRow))
    with measured.read_session() as session:
        for table in (PlanDocumentRow, PlanChoicesRow, PlanSheetRow):
            assert session.scalar(select(func.count()).select_from(table)) == 0


def test_plans_stored_together_store_their_sheet_once(measured: Database) -> None:
    with measured.read_session() as session:
        plans = [WrittenPlan.of(make_plan(session, asked(4 + number / 8))) for number in range(4)]
    assert store_together(measured, plans) == [None] * 4
    assert sheets(measured) == 1
    with measured.read_session() as session:
        assert [plan_json(session, plan.id) for plan in plans] == [plan.document for plan in plans]
        rows = session.scalars(select(func.length(PlanDocumentRow.document))).all()
    assert max(rows) < min(len(plan.document) for plan in plans) / 2


def test_a_sheet_that_another_process_forgot_is_stored_again(measured: Database) -> None:
    with measured.read_session() as session:
        plans = [WrittenPlan.of(make_plan(session, asked(4 + number / 8))) for number in range(4)]
    assert store_together(measured, plans[:1]) == [None]
    other = Database(measured.url)
    with other.session() as session:
        plan_pins.delete_plan(session, plans[0].id, who="tester")
    other.close()
    assert sheets(measured) == 0
    assert store_together(measured, plans[1:]) == [None] * 3
    assert sheets(measured) == 1
    with measured.read_session() as session:
        assert [plan_json(session, plan.id) for plan in plans[1:]] == [plan.document for plan in plans[1:]]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_storing_a_plan_and_deleting_its_model_wait_for_each_other(measured: Database) -> None:
    created(measured, 4.25)
    with measured.read_session() as session:
        plan = WrittenPlan.of(make_plan(session, asked(4.5)))
    other, found = Database(measured.url), list[object]()
    storing = threading.Thread(target=lambda: found.extend(store_together(other, [plan])))
    with measured.session() as session:
        session.execute(select(ModelRow.id).with_for_update())
        storing.start()
        while not session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
            time.sleep(0.01)
        session.execute(delete(ModelRow))
    storing.join()
    other.close()
    assert [type(one) for one in found] == [NotFoundError]


def test_a_plan_that_goes_while_it_is_read_is_not_found(measured: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = created(measured, 4.25)
    measured.memory = Memory(2**22)

    def gone(session: Session, _sheet: str) -> bytes:
        return load_sheet(session, "another")

    monkeypatch.setattr(plan_parts, "load_sheet", gone)
    with measured.read_session() as session:
        for read in (get_plan, plan_json, view_plan):
            with pytest.raises(NotFoundError, match=plan.id):
                read(session, plan.id)


def test_every_number_is_stored_to_the_last_bit(measured: Database) -> None:
    with measured.read_session() as session:
        plan = WrittenPlan.of(make_plan(session, asked(4.25)))
    numbers = {"predicted_loss": 5e-324, "effective_bits": 0.1 + 0.2, "gap": float("inf"), "size_bits": 2**63 - 1}
    name = {"solver": 'a "b" \\x00 ü\n'}
    odd = replace(plan, columns=plan.columns | numbers | name, facts='{"odd": "\\u0000 \\\\ ü"}')
    assert store_together(measured, [odd]) == [None]
    with measured.read_session() as session:
        row, document = session.get_one(PlanRow, plan.id), session.get_one(PlanDocumentRow, plan.id)
        choices = session.get_one(PlanChoicesRow, plan.id)
    assert {name: getattr(row, name) for name in numbers | name} == numbers | name
    assert (row.budget, row.created_at) == (plan.columns["budget"], plan.columns["created_at"])
    assert (document.document, choices.chosen) == (odd.facts, plan.chosen)


def test_a_plan_whose_choices_were_changed_is_stored_whole(measured: Database) -> None:
    with measured.read_session() as session:
        plan = make_plan(session, asked(4.25))
    changed = plan.model_copy(update={"choices": [*plan.choices[1:], plan.choices[0]]})
    with measured.session() as session:
        store_plan(session, changed)
    assert sheets(measured) == 0
    with measured.read_session() as session:
        assert load_plan(session, plan.id) == StoredPlan(changed.model_dump_json(), None, None)
        assert get_plan(session, plan.id) == changed
        assert plan_json(session, plan.id) == changed.model_dump_json()
        assert view_plan(session, plan.id).choices == from_json(changed.model_dump_json())["choices"]


def test_a_sheet_is_named_by_all_that_it_says(measured: Database) -> None:
    sheet = sheet_of(measured)
    again = PlanSheet.unpacked(sheet.packed)
    assert again.packed == sheet.packed
    assert again.id == sheet.id
    assert again.members == sheet.members == [[sheet.names[i] for i in members] for members in groups_of(measured)]
    for other in (
        replace(sheet, model="another"),
        replace(sheet, formats=["X", *sheet.formats[1:]]),
        replace(sheet, names=["X", *sheet.names[1:]]),
        replace(sheet, blocks=[None, *sheet.blocks[1:]]),
        replace(sheet, losses=np.nextafter(sheet.losses, 0)),
        replace(sheet, errors=sheet.errors + 1),
    ):
        assert other.id != sheet.id


def groups_of(database: Database) -> list[tuple[int, ...]]:
    with database.read_session() as session:
        return list(prepare(session, asked(4.25)).classes.groups)


COLUMNS = arrays.arrays(np.int64, st.integers(0, 200), elements=st.integers(0, 2**16 - 1))


@given(COLUMNS, st.data())
def test_what_was_chosen_is_packed_without_loss(columns: np.ndarray, data: st.DataObject) -> None:
    above = data.draw(arrays.arrays(np.int64, len(columns), elements=st.integers(0, 2**16 - 1)))
    fragile = data.draw(arrays.arrays(np.bool_, len(columns)))
    found = Chosen.unpacked(Chosen(columns, above, fragile).packed())
    for before, after in zip((columns, above, fragile), (found.columns, found.above, found.fragile), strict=True):
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)
