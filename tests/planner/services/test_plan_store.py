"""What is stored of a plan: its JSON, to the letter, though most of it was written for other plans."""

from dataclasses import replace

import pytest

from planner.errors import InvalidRequestError, NotFoundError
from planner.schemas.plans import PlanRequest
from planner.services import plan_choices
from planner.services.plan_choices import most_bytes
from planner.services.plan_store import WrittenPlan, store_plan, store_together, write_plan
from planner.services.plans import get_plan, make_plan
from planner.services.preparing import prepare
from planner.storage.database import Database
from planner.storage.memory import Memory
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


def test_a_plan_is_written_as_pydantic_writes_it(measured: Database) -> None:
    for request in (asked(4.25), asked(4.25), asked(5.5, runtime="vllm"), asked(4.75, alternatives=2, caution=1.0)):
        with measured.read_session() as session:
            plan = make_plan(session, request)
        assert write_plan(plan) == plan.model_dump_json()


def test_choices_of_very_many_layers_are_the_same_and_remembered_by_nobody(
    measured: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [asked(4.25), asked(5.5, runtime="vllm"), asked(4.75, caution=1.0)]
    with measured.read_session() as session:
        usual = [make_plan(session, request) for request in requests]
    monkeypatch.setattr(plan_choices, "MOST_KEPT", 1)
    measured.memory = Memory(2**20)
    for request, plan in zip(requests, usual, strict=True):
        with measured.read_session() as session:
            found = make_plan(session, request)
            prepared = prepare(session, request)
        assert (found.choices, found.groups) == (plan.choices, plan.groups)
        assert write_plan(found) == found.model_dump_json()
        assert most_bytes(prepared.classes) == 0
        assert all("written" not in vars(choice) for choice in found.choices)


def test_a_changed_copy_of_a_choice_is_written_anew(measured: Database) -> None:
    with measured.read_session() as session:
        plan = make_plan(session, asked(4.25))
    first = plan.choices[0]
    assert '"INT' in first.written
    changed = first.model_copy(update={"format": "OTHER"})
    assert changed.written == changed.model_dump_json()
    assert '"OTHER"' in write_plan(plan.model_copy(update={"choices": [changed, *plan.choices[1:]]}))
    assert "written" not in first.model_dump()
    assert first == type(first).model_validate_json(first.written)


def test_a_written_plan_says_what_it_is_searched_by(measured: Database) -> None:
    with measured.read_session() as session:
        plan = make_plan(session, asked(4.25))
    written = WrittenPlan.of(plan)
    assert (written.id, written.model, written.columns["budget_value"]) == (plan.id, plan.model, 4.25)
    with pytest.raises(NotFoundError), measured.read_session() as session:
        get_plan(session, plan.id)


def test_a_number_that_the_database_cannot_keep_spoils_no_other_plan(measured: Database) -> None:
    with measured.read_session() as session:
        first, second, third = (make_plan(session, asked(bits)) for bits in (4.25, 4.5, 4.75))
    large = WrittenPlan.of(second)
    large = replace(large, columns=large.columns | {"size_bits": 2**70})
    found = store_together(measured, [WrittenPlan.of(first), large, WrittenPlan.of(third)])
    assert [type(error) for error in found] == [type(None), InvalidRequestError, type(None)]
    assert "lower context or batch" in str(found[1])
    with measured.read_session() as session:
        assert get_plan(session, first.id) == first
        assert get_plan(session, third.id) == third
        with pytest.raises(NotFoundError):
            get_plan(session, second.id)
    size = second.size.model_copy(update={"file_bytes": 2**70})
    with pytest.raises(InvalidRequestError, match="cannot keep"), measured.session() as session:
        store_plan(session, second.model_copy(update={"size": size}))
