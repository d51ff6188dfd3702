"""Plans are made by readers and stored by a writer."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from planner.errors import NotFoundError, StorageError
from planner.schemas.plans import BudgetSpec, PlanRequest
from planner.services import models, plans
from planner.storage.database import Database
from tests import synthetic


@pytest.fixture
def toy(database: Database) -> str:
    described = synthetic.description()
    with database.session() as session:
        model = synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting())
    return model


def _request(bits: float) -> PlanRequest:
    return PlanRequest(model="toy", budget=BudgetSpec(effective_bits=bits))


def test_making_a_plan_writes_nothing(database: Database, toy: str) -> None:
    with database.read_session() as session:
        plan = plans.make_plan(session, _request(4.25))
    with database.read_session() as session, pytest.raises(NotFoundError):
        plans.get_plan(session, plan.id)
    with database.session() as session:
        plans.store_plan(session, plan)
    with database.read_session() as session:
        assert plans.get_plan(session, plan.id) == plan


def test_a_reader_cannot_store(database: Database, toy: str) -> None:
    def store() -> None:
        with database.read_session() as session:
            plans.create_plan(session, _request(4.25))
            session.flush()

    with pytest.raises(StorageError):
        store()


def test_a_plan_of_a_model_that_was_deleted_meanwhile_is_not_stored(database: Database, toy: str) -> None:
    with database.read_session() as session:
        plan = plans.make_plan(session, _request(4.25))
    with database.session() as session:
        models.delete_model(session, toy)
    with pytest.raises(NotFoundError), database.session() as session:
        plans.store_plan(session, plan)
    with database.read_session() as session:
        assert plans.list_plans(session) == ([], None)


def test_plans_that_are_made_at_once_are_all_stored(database: Database, toy: str) -> None:
    def create(number: int) -> str:
        with database.session() as session:
            return plans.create_plan(session, _request(3.5 + number / 10)).id

    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(create, range(12)))
    with database.read_session() as session:
        listed, following = plans.list_plans(session)
    assert {summary.id for summary in listed} == made
    assert following is None
    assert {summary.budget.effective_bits for summary in listed} == {3.5 + number / 10 for number in range(12)}
