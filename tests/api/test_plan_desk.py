"""Plans of requests that come at once: stored in one transaction, answered when they are, one deleted model spoils no other."""

import asyncio
import threading
from collections.abc import Sequence

import pytest
from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from api import plan_desk
from api.plan_desk import PlanDesk
from planner.errors import BudgetError, InvalidRequestError, NotFoundError, StorageError
from planner.schemas.plans import PlanRequest
from planner.services import preparing
from planner.services.plan_answers import written_plan
from planner.services.plan_store import WrittenPlan, store_together
from planner.services.plans import make_plan
from planner.services.preparing import Moment
from planner.storage import postgresql
from planner.storage.cells import measurements_version
from planner.storage.database import Database
from planner.storage.tables import ModelRow, PlanDocumentRow, PlanRow
from tests import synthetic
from tests.api.conftest import Measured


def asked(number: int = 0, model: str = "toy") -> PlanRequest:
    return PlanRequest.model_validate({"model": model, "budget": {"effective_bits": 4 + number / 10}})


def stored(database: Database) -> set[str]:
    with database.read_session() as session:
        both = select(PlanRow.id).join(PlanDocumentRow, PlanDocumentRow.plan_id == PlanRow.id)
        return set(session.scalars(both))


@pytest.fixture
def transactions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many plans each transaction stored."""
    sizes: list[int] = []

    def noting(database: Database, plans: Sequence[WrittenPlan]) -> list[NotFoundError | InvalidRequestError | None]:
        sizes.append(len(plans))
        return store_together(database, plans)

    monkeypatch.setattr(plan_desk, "store_together", noting)
    return sizes


def test_plans_that_wait_for_the_writer_are_stored_in_one_transaction(
    database: Database, measured: Measured, transactions: list[int]
) -> None:
    assert measured.model

    async def ask() -> list[str]:
        desk = PlanDesk(database)
        return [plan.id for plan in await asyncio.gather(*(desk.plan(asked(number)) for number in range(12)))]

    made = asyncio.run(ask())
    assert stored(database) == set(made)
    assert len(made) == sum(transactions) == 12


def test_a_plan_is_answered_after_its_transaction(
    database: Database, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert measured.model
    may_store, may_be_stored = threading.Event(), threading.Event()

    def waiting(used: Database, plans: Sequence[WrittenPlan]) -> list[NotFoundError | InvalidRequestError | None]:
        may_be_stored.set()
        may_store.wait(30)
        return store_together(used, plans)

    monkeypatch.setattr(plan_desk, "store_together", waiting)

    async def ask() -> None:
        desk = PlanDesk(database)
        first = asyncio.create_task(desk.plan(asked()))
        others = [asyncio.create_task(desk.plan(asked(number))) for number in range(1, 4)]
        assert await asyncio.to_thread(may_be_stored.wait, 30)
        assert not any(task.done() for task in (first, *others))
        may_store.set()
        made = await asyncio.gather(first, *others)
        assert {plan.id for plan in made} == stored(database)

    asyncio.run(ask())


def test_whoever_left_while_a_plan_waited_keeps_nobody_else_from_theirs(
    database: Database, measured: Measured, transactions: list[int]
) -> None:
    assert measured.model

    async def ask() -> str:
        desk = PlanDesk(database)
        leaving = asyncio.create_task(desk.plan(asked()))
        staying = asyncio.create_task(desk.plan(asked(1)))
        await asyncio.sleep(0)
        leaving.cancel()
        return (await staying).id

    assert asyncio.run(ask()) in stored(database)


def test_a_model_that_is_deleted_meanwhile_spoils_no_other_plan(database: Database, measured: Measured) -> None:
    with database.session() as session:
        doomed = synthetic.description(name="doomed")
        gone = synthetic.add_model(session, doomed)
        synthetic.add_cells(session, doomed, synthetic.setting(measured.calibration))
    with database.read_session() as session:
        plans = [WrittenPlan.of(make_plan(session, asked(model=name))) for name in ("toy", "doomed", "toy")]
    with database.session() as session:
        session.execute(delete(ModelRow).where(ModelRow.id == gone))
    first, second, third = store_together(database, plans)
    assert first is third is None
    assert isinstance(second, NotFoundError)
    assert stored(database) == {plans[0].id, plans[2].id}


def test_a_question_without_an_answer_is_refused_and_the_next_is_answered(database: Database, measured: Measured) -> None:
    assert measured.model

    async def ask() -> None:
        desk = PlanDesk(database)
        with pytest.raises(BudgetError):
            await desk.plan(asked(-39))
        await desk.plan(asked())

    asyncio.run(ask())
    assert len(stored(database)) == 1


def test_a_database_that_cannot_be_written_is_told_to_everybody_who_waits(
    database: Database, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert measured.model

    def failing(_database: Database, _plans: Sequence[WrittenPlan]) -> list[NotFoundError | InvalidRequestError | None]:
        msg = "the disk is full"
        raise StorageError(msg)

    async def ask() -> list[object]:
        desk = PlanDesk(database)
        monkeypatch.setattr(plan_desk, "store_together", failing)
        failed = await asyncio.gather(*(desk.plan(asked(number)) for number in range(3)), return_exceptions=True)
        monkeypatch.setattr(plan_desk, "store_together", store_together)
        return [*failed, await desk.plan(asked())]

    *failed, last = asyncio.run(ask())
    assert all(isinstance(error, StorageError) for error in failed)
    assert isinstance(last, WrittenPlan)
    assert stored(database) == {last.id}


def test_a_plan_that_takes_long_lets_others_begin(
    database: Database, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert measured.model
    release, long = threading.Event(), asked(9)

    def making(session: Session, request: PlanRequest, moment: Moment) -> WrittenPlan:
        if request == long:
            release.wait(30)
        return written_plan(session, request, moment)

    monkeypatch.setattr(plan_desk, "written_plan", making)
    monkeypatch.setattr(plan_desk, "LONG_SECONDS", 0.01)

    async def ask() -> None:
        desk = PlanDesk(database)
        first = asyncio.create_task(desk.plan(long))
        await asyncio.gather(*(desk.plan(asked(number)) for number in range(3)))
        assert not first.done()
        release.set()
        await first
        assert not desk._turn.locked()

    asyncio.run(ask())


def test_of_the_turn_of_a_long_plan_what_is_made_is_stored_and_what_is_not_begun_is_made(
    database: Database, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert measured.model
    release, long, order = threading.Event(), asked(9), list[str]()

    def making(session: Session, request: PlanRequest, moment: Moment) -> WrittenPlan:
        if request == long:
            release.wait(30)
        plan = written_plan(session, request, moment)
        order.append(plan.id)
        return plan

    monkeypatch.setattr(plan_desk, "written_plan", making)
    monkeypatch.setattr(plan_desk, "LONG_SECONDS", 0.01)

    async def ask() -> list[str]:
        desk = PlanDesk(database)
        with desk._turn:  # until all of them have come
            before, during, *after = [asyncio.create_task(desk.plan(request)) for request in (asked(), long, asked(1), asked(2))]
            await asyncio.sleep(0)
        answered = [plan.id for plan in await asyncio.gather(before, *after)]
        assert not during.done()
        assert stored(database) == set(answered)
        release.set()
        return [*answered, (await during).id]

    found = asyncio.run(ask())
    assert set(found) == set(order) == stored(database)
    assert found[-1] == order[-1]  # the long one


def test_plans_of_one_turn_ask_once_what_is_measured_and_after_all_of_them_came(
    database: Database, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert measured.model
    seen: list[str] = []

    def looking(session: Session, model: str) -> tuple[tuple[object, ...], ...]:
        seen.append(model)
        return measurements_version(session, model)

    monkeypatch.setattr(preparing, "measurements_version", looking)

    async def ask() -> None:
        desk = PlanDesk(database)
        with desk._turn:
            tasks = [asyncio.create_task(desk.plan(asked(number))) for number in range(2 * plan_desk.MOST_A_TURN)]
            await asyncio.sleep(0)
            assert seen == []
        await asyncio.gather(*tasks)

    asyncio.run(ask())
    assert 2 <= len(seen) < 2 * plan_desk.MOST_A_TURN
    assert len(stored(database)) == 2 * plan_desk.MOST_A_TURN


def test_stored_plans_are_looked_up_together_and_one_that_is_not_there_spoils_no_other(
    database: Database, measured: Measured
) -> None:
    assert measured.model

    async def ask() -> tuple[list[bytes | BaseException], list[str]]:
        desk = PlanDesk(database)
        plans = await asyncio.gather(*(desk.plan(asked(number)) for number in range(3)))
        wanted = [plans[0].id, "0" * 24, plans[1].id, plans[2].id, plans[0].id]
        found = await asyncio.gather(*(desk.stored(plan) for plan in wanted), return_exceptions=True)
        return found, [plan.document for plan in plans]

    found, documents = asyncio.run(ask())
    missing = found.pop(1)
    assert isinstance(missing, NotFoundError)
    assert found == [documents[number].encode() for number in (0, 1, 2, 0)]


def test_connections_in_steady_use_that_break_cost_nobody_a_plan(
    database: Database, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the server is restarted. On SQLite there is nothing to break, and all goes as ever."""
    assert measured.model
    monkeypatch.setattr(postgresql, "_QUIET_SECONDS", 600.0)  # so that no connection is asked whether it is alive

    def end_all_connections() -> None:
        if not database.is_sqlite:
            other = Database(database.url)
            with other.session() as session:
                ours = "datname = current_database() AND pid <> pg_backend_pid()"
                session.execute(text(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {ours}"))  # noqa: S608
            other.close()

    async def ask() -> list[str]:
        desk = PlanDesk(database)
        made = [(await desk.plan(asked(1))).id]
        for number in (2, 3):
            assert (await desk.stored(made[0])).startswith(b"{")
            await asyncio.to_thread(end_all_connections)
            made.append((await desk.plan(asked(number))).id)
        await asyncio.to_thread(end_all_connections)
        assert (await desk.stored(made[0])).startswith(b"{")
        return made

    assert set(asyncio.run(ask())) == stored(database)


def test_plans_whose_commit_was_not_heard_of_are_kept_once(database: Database, measured: Measured) -> None:
    assert measured.model
    with database.read_session() as session:
        first, second = (WrittenPlan.of(make_plan(session, asked(number))) for number in (1, 2))
    assert store_together(database, [first]) == [None]
    assert store_together(database, [first, second]) == [None, None]
    assert stored(database) == {first.id, second.id}
