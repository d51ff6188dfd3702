"""Whoever asks the same again gets the same plan as a new document, while it follows from request and measurements alone."""

import json
from typing import Any, Final

import pytest

import solvers
from planner.schemas.plans import PlanDocument, PlanRequest
from planner.services import plan_answers, plan_choices
from planner.services.plan_answers import WrittenAnswer, written_plan
from planner.services.plan_sheets import Chosen
from planner.services.plan_store import WrittenPlan, get_plan, store_together
from planner.services.plans import answer_facts, make_plan
from planner.services.preparing import Moment, prepare
from planner.storage.database import Database
from planner.storage.memory import Memory
from planner.telemetry import PlanReport, plan_listener
from tests import synthetic

COUNT: Final = {"above_bits": 4, "at_most": 3}


@pytest.fixture
def measured(database: Database) -> Database:
    described = synthetic.description()
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)))
    return database


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Plans that were solved and explained."""
    found: list[str] = []

    def noting(*asked: Any) -> tuple[PlanDocument, Chosen]:
        facts, chosen = answer_facts(*asked)
        found.append(facts.id)
        return facts, chosen

    monkeypatch.setattr(plan_answers, "answer_facts", noting)
    return found


def asked(bits: float, **more: object) -> PlanRequest:
    return PlanRequest.model_validate({"model": "toy", "budget": {"effective_bits": bits}, **more})


def written(database: Database, request: PlanRequest) -> WrittenPlan:
    with database.read_session() as session:
        return written_plan(session, request, Moment())


def made_plan(database: Database, request: PlanRequest) -> PlanDocument:
    with database.read_session() as session:
        return make_plan(session, request)


def facts(written: str) -> dict[str, Any]:
    """All of a plan but its id and its times."""
    found: dict[str, Any] = json.loads(written)
    del found["id"], found["created_at"], found["proof"]["solve_seconds"]
    return found


@pytest.mark.parametrize(
    "more",
    [{}, {"runtime": "vllm"}, {"alternatives": 2}, {"budget": {"max_loss": 0.02}}, {"counts": [COUNT]}],
    ids=str,
)
def test_the_same_plan_is_made_once_and_is_a_new_document_each_time(
    measured: Database, made: list[str], more: dict[str, Any]
) -> None:
    request = PlanRequest.model_validate({"model": "toy", "budget": {"effective_bits": 4.25}} | more)
    plans = [written(measured, request) for _ in range(3)]
    assert len(made) == 1
    assert len({plan.id for plan in plans}) == 3
    for plan in plans:
        assert facts(plan.document) == facts(made_plan(measured, request).model_dump_json())
    assert store_together(measured, plans) == [None] * 3
    with measured.read_session() as session:
        stored = [get_plan(session, plan.id) for plan in plans]
    assert [document.model_dump_json() for document in stored] == [plan.document for plan in plans]
    assert [(plan.columns["id"], plan.columns["created_at"]) for plan in plans] == [(p.id, p.created_at) for p in stored]
    assert stored[0].created_at < stored[1].created_at < stored[2].created_at


def test_another_question_or_a_new_measurement_is_another_answer(measured: Database, made: list[str]) -> None:
    for request in (asked(4.25), asked(4.25, runtime="vllm"), asked(4.5), asked(4.25, deadline_seconds=9.0), asked(4.25)):
        written(measured, request)
    assert len(made) == 4
    described = synthetic.description()
    with measured.session() as session:
        synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)), seed=1)
    anew = written(measured, asked(4.25))
    assert len(made) == 5
    assert facts(anew.document) == facts(made_plan(measured, asked(4.25)).model_dump_json())


def test_every_document_is_reported(measured: Database, made: list[str]) -> None:
    reports: list[PlanReport] = []
    with plan_listener(reports.append):
        for _ in range(3):
            written(measured, asked(4.25))
    assert len(made) == 1
    assert len(reports) == 3
    assert len(set(reports)) == 1


def test_what_more_time_or_other_figures_of_a_device_could_change_is_made_again(
    measured: Database, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = PlanRequest.model_validate({"model": "toy", "budget": {"decode_seconds": 1.0, "device": "l4"}, "allow_slack": True})
    for _ in range(2):
        written(measured, device)
    assert len(made) == 2
    unproven = written(measured, asked(4.25, caution=1.0))
    assert json.loads(unproven.document)["proof"]["status"] == "feasible"
    written(measured, asked(4.25, caution=1.0))
    assert len(made) == 4
    monkeypatch.setattr(solvers.Deadline, "passed", lambda _: True)
    for _ in range(2):
        written(measured, asked(4.25))
    assert len(made) == 6


def test_very_many_layers_are_written_without_documents_and_not_remembered(
    measured: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = written(measured, asked(4.25))
    monkeypatch.setattr(plan_choices, "MOST_KEPT", 1)
    measured.memory = Memory(2**22)
    plans = [written(measured, asked(4.25)) for _ in range(2)]
    assert [facts(plan.document) for plan in plans] == [facts(usual.document)] * 2
    assert store_together(measured, plans) == [None] * 2
    with measured.read_session() as session:
        assert len(prepare(session, asked(4.25)).answers) == 0
        assert [get_plan(session, plan.id).model_dump_json() for plan in plans] == [plan.document for plan in plans]


def test_an_answer_keeps_no_choices_that_nobody_shares(measured: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with measured.read_session() as session:
        layers = len(prepare(session, asked(4.25)).classes.layers)
    monkeypatch.setattr(plan_choices, "MOST_KEPT", layers)  # the first plan's layers; its groups are no other plan's
    kept: list[WrittenAnswer] = []

    def noting(found: WrittenAnswer | None) -> int | None:
        assert found is not None
        kept.append(found)
        return found.bytes

    monkeypatch.setattr(plan_answers, "_kept_bytes", noting)
    first, second = (written(measured, asked(4.25)) for _ in range(2))
    assert [answer.choices.made for answer in kept] == [None]
    assert facts(first.document) == facts(second.document)
