"""Many questions at once: answered in order as if asked alone, with the shared work done once."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.errors import (
    BatchLimitError,
    BudgetBelowFloorError,
    NotFoundError,
    PlannerError,
    StorageError,
    UnmeasuredError,
)
from planner.schemas.plans import PlanDocument, PlanRequest
from planner.services import models, plan_batches, plan_listing, plans
from planner.services.plan_batches import Outcome, make_plans, store_plans
from planner.services.preparing import prepare
from planner.storage.database import Database
from tests.planner.services.stored_plans import measured_model

ASKED: list[dict[str, Any]] = [
    {"model": "toy", "budget": {"effective_bits": 4.25}},
    {"model": "toy", "budget": {"effective_bits": 1.0}},
    {"model": "toy", "budget": {"effective_bits": 5.25}, "caution": 1.0},
    {"model": "nobody", "budget": {"effective_bits": 4.25}},
    {"model": "toy", "budget": {"effective_bits": 5.0}, "runtime": "vllm", "formats": ["INT4_G64", "INT8_G64"]},
    {"model": "toy", "budget": {"effective_bits": 4.25}, "probe": "kl"},
    {"model": "other", "budget": {"file_bytes": 10_000_000}, "allow_slack": True},
    {"model": "toy", "budget": {"effective_bits": 3.5}, "counts": [{"above_bits": 4, "at_most": 2}]},
]


@pytest.fixture
def toy(database: Database) -> str:
    measured_model(database, "other", seed=1)
    return measured_model(database)


def requests(*asked: dict[str, Any]) -> list[PlanRequest]:
    return [PlanRequest.model_validate(one) for one in asked]


def made(database: Database, *asked: dict[str, Any], deadline: float = 60) -> list[Outcome]:
    with database.read_session() as session:
        return make_plans(session, requests(*asked), deadline=deadline)


def facts(outcome: Outcome) -> object:
    """What does not change from one solve to the next."""
    if not isinstance(outcome, PlanDocument):
        return type(outcome), str(outcome)
    return outcome.request, outcome.choices, outcome.size, outcome.predicted, outcome.proof.lower_bound, outcome.notes


def alone(database: Database, request: PlanRequest) -> Outcome:
    with database.read_session() as session:
        try:
            return plans.make_plan(session, request)
        except PlannerError as error:
            return error


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # both databases answer alone alike: other tests see to that
@settings(
    max_examples=6, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(order=st.lists(st.integers(0, len(ASKED) - 1), min_size=1, max_size=8))
def test_a_batch_is_answered_as_its_requests_are_alone(database: Database, toy: str, order: list[int]) -> None:
    asked = [ASKED[number] for number in order]
    expected = {number: facts(alone(database, *requests(ASKED[number]))) for number in set(order)}
    assert [facts(outcome) for outcome in made(database, *asked)] == [expected[number] for number in order]


def test_one_that_fails_does_not_spoil_the_others(database: Database, toy: str) -> None:
    outcomes = made(database, *ASKED)
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds[:4] == [PlanDocument, BudgetBelowFloorError, PlanDocument, NotFoundError]
    assert kinds[4:] == [PlanDocument, UnmeasuredError, PlanDocument, PlanDocument]
    with database.session() as session:
        stored = store_plans(session, outcomes)
    assert stored == outcomes
    with database.read_session() as session:
        listed = plan_listing.list_plans(session).items
    assert {item.id for item in listed} == {outcome.id for outcome in outcomes if isinstance(outcome, PlanDocument)}


def test_what_budgets_share_is_prepared_once(database: Database, toy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[str] = []

    def counted(session: Any, question: Any) -> Any:
        prepared.append(question.runtime)
        return prepare(session, question)

    monkeypatch.setattr("planner.services.plan_batches.prepare", counted)
    budgets = [{"effective_bits": 3 + number / 10} for number in range(8)]
    asked = [{"model": "toy", "budget": budget, "runtime": runtime} for budget in budgets for runtime in ("generic", "vllm")]
    assert all(isinstance(outcome, PlanDocument) for outcome in made(database, *asked))
    assert prepared == ["generic", "vllm"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_batch_ends_in_time_and_in_memory(database: Database, toy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [type(outcome) for outcome in made(database, *ASKED[:3], deadline=0)] == [BatchLimitError] * 3
    monkeypatch.setattr(plan_batches, "MOST_LAYERS", 30)  # two plans of 14 layers
    kinds = [type(outcome) for outcome in made(database, ASKED[0], ASKED[1], ASKED[2], ASKED[4], ASKED[6])]
    assert kinds == [PlanDocument, BudgetBelowFloorError, PlanDocument, BatchLimitError, BatchLimitError]


def test_a_model_that_is_deleted_meanwhile_takes_its_own_plans_only(database: Database, toy: str) -> None:
    outcomes = made(database, ASKED[0], ASKED[6])
    with database.session() as session:
        models.delete_model(session, "other")
    with database.session() as session:
        stored = store_plans(session, outcomes)
    assert [type(outcome) for outcome in stored] == [PlanDocument, NotFoundError]


def test_a_database_that_fails_is_no_answer(database: Database, toy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        msg = "gone"
        raise StorageError(msg)

    monkeypatch.setattr(plan_batches, "answer", fail)
    with pytest.raises(StorageError):
        made(database, ASKED[0])
