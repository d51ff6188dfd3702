"""Names, pins and the trail: one plan a name, no move lost, nothing deleted that is kept."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError

from planner.errors import ConflictError, InvalidRequestError, NotFoundError
from planner.schemas.plan_keeping import EventFilters, MoveName, PinRequest, PlanEvent, PlanName
from planner.services import models, plan_names, plan_pins, plan_trail, plans
from planner.services.plan_trail import LOCAL
from planner.storage.database import Database
from planner.storage.tables import PlanRow
from tests.planner.services.stored_plans import measured_model, stored_plan

KEPT: list[tuple[str, Callable[..., Any]]] = [
    ("pinned", lambda session, plan: plan_pins.pin_plan(session, plan, PinRequest(why="released"), who=LOCAL)),
    ("named", lambda session, plan: plan_names.move_name(session, "toy", "production", MoveName(plan=plan), who=LOCAL)),
]


@pytest.fixture
def toy(database: Database) -> str:
    return measured_model(database)


def move(database: Database, name: str, who: str = LOCAL, **request: Any) -> PlanName:
    with database.session() as session:
        return plan_names.move_name(session, "toy", name, MoveName.model_validate(request), who=who)[0]


def trail(database: Database, **filters: Any) -> list[PlanEvent]:
    with database.read_session() as session:
        return plan_trail.list_events(session, EventFilters.model_validate(filters)).items


def test_a_name_moves_and_the_trail_says_who_why_and_what_came_next(database: Database, toy: str) -> None:
    first, second = (stored_plan(database, budget={"effective_bits": bits}).id for bits in (4.25, 5.25))
    assert move(database, "production", plan=first, why="first release").version == 1
    moved = move(database, "production", who="bp_1234", plan=second, why="better at long context")
    assert (moved.plan, moved.version, moved.who) == (second, 2, "bp_1234")
    with database.session() as session:
        assert plan_names.get_name(session, "toy", "production") == moved
        plan_names.remove_name(session, "toy", "production", who=LOCAL, why="withdrawn")
    lines = [
        (line.action, line.plan, line.version, line.supersedes, line.superseded_by, line.who, line.why)
        for line in trail(database, model="toy", name="production")
    ]
    assert lines == [
        ("unnamed", second, 3, None, None, LOCAL, "withdrawn"),
        ("named", second, 2, first, None, "bp_1234", "better at long context"),
        ("named", first, 1, None, second, LOCAL, "first release"),
    ]
    ends = [line.superseded_at for line in trail(database, model="toy")]
    starts = [line.at for line in trail(database, model="toy")]
    assert ends == [None, *starts[:-1]]
    assert move(database, "production", plan=first).version == 4
    assert [line.plan for line in trail(database, plan=first)] == [first, first]


def test_a_name_is_only_moved_from_where_it_was_expected(database: Database, toy: str) -> None:
    first, second = stored_plan(database).id, stored_plan(database).id
    with pytest.raises(ConflictError, match="no plan bears it"):
        move(database, "production", plan=first, replaces=second)
    move(database, "production", plan=first, replaces=None)
    with pytest.raises(ConflictError, match="bears it") as conflict:
        move(database, "production", plan=second, replaces=None)
    assert conflict.value.fields["current"] == first
    assert move(database, "production", plan=second, replaces=first).plan == second
    again = move(database, "production", plan=second, replaces=first)  # the answer was lost on its way to the client
    assert again.version == 2
    assert len(trail(database)) == 2
    with database.session() as session, pytest.raises(ConflictError):
        plan_names.remove_name(session, "toy", "production", replaces=first, who=LOCAL)


def test_of_many_that_move_a_name_at_once_one_moves_it(database: Database, toy: str) -> None:
    made = [stored_plan(database).id for _ in range(4)]
    start = stored_plan(database).id

    def try_move(plan: str, expected: str | None) -> str | None:
        try:
            return move(database, "production", plan=plan, replaces=expected).plan
        except ConflictError:
            return None

    for expected, candidates in ((None, [*made[:2], start]), ("moved", made[2:])):
        current = expected if expected is None else trail(database)[0].plan
        with ThreadPoolExecutor(len(candidates)) as pool:
            winners = [plan for plan in pool.map(lambda plan, at=current: try_move(plan, at), candidates) if plan]
        assert len(winners) == 1
        assert trail(database)[0].plan == winners[0]
    assert [line.version for line in trail(database)] == [2, 1]


def test_names_are_a_model_s_own(database: Database, toy: str) -> None:
    measured_model(database, "other")
    plan, foreign = stored_plan(database).id, stored_plan(database, model="other").id
    with pytest.raises(InvalidRequestError, match="is not of model 'toy'"):
        move(database, "production", plan=foreign)
    with pytest.raises(NotFoundError, match="no plan 'f00'"):
        move(database, "production", plan="f00")
    move(database, "staging", plan=plan)
    move(database, "production", plan=plan)
    with database.session() as session:
        plan_names.move_name(session, "other", "production", MoveName(plan=foreign), who=LOCAL)
        assert [(item.name, item.plan) for item in plan_names.list_names(session, "toy").items] == [
            ("production", plan),
            ("staging", plan),
        ]
        with pytest.raises(NotFoundError, match="is called 'canary'"):
            plan_names.get_name(session, "toy", "canary")
        with pytest.raises(NotFoundError, match="is called 'canary'"):
            plan_names.remove_name(session, "toy", "canary", who=LOCAL)
    assert len(trail(database, model="other")) == 1


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_model_has_room_for_so_many_names(database: Database, toy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_names, "MOST_NAMES", 2)
    plan = stored_plan(database).id
    for name in ("a", "b"):
        move(database, name, plan=plan)
    with pytest.raises(InvalidRequestError, match="take one away first"):
        move(database, "c", plan=plan)
    move(database, "b", plan=stored_plan(database).id)


@pytest.mark.parametrize(("why", "keep"), KEPT)
def test_what_is_kept_is_not_deleted_by_anybody(database: Database, toy: str, why: str, keep: Callable[..., Any]) -> None:
    plan = stored_plan(database).id
    with database.session() as session:
        keep(session, plan)
    with database.session() as session, pytest.raises(ConflictError, match="is pinned: " if why == "pinned" else "is called"):
        plan_pins.delete_plan(session, plan, who=LOCAL)
    with database.session() as session, pytest.raises(ConflictError, match="1 plans of the model"):
        models.delete_model(session, "toy")
    with pytest.raises(IntegrityError), database.session() as session:  # whoever forgets to ask
        session.execute(delete(PlanRow).where(PlanRow.id == plan))
    with database.read_session() as session:
        assert plans.get_plan(session, plan).id == plan


def test_a_plan_that_is_kept_at_the_last_moment_keeps_its_model(
    database: Database, toy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = stored_plan(database).id
    with database.session() as session:
        plan_pins.pin_plan(session, plan, PinRequest(), who=LOCAL)
    monkeypatch.setattr(models, "refuse_kept_plans", lambda *_: None)  # it looked just before
    with pytest.raises(ConflictError, match="at this moment"), database.session() as session:
        models.delete_model(session, "toy")
    with database.read_session() as session:
        assert plans.get_plan(session, plan).id == plan


def test_a_pin_is_set_once_and_the_trail_survives_the_plan(database: Database, toy: str) -> None:
    plan = stored_plan(database).id
    with database.session() as session:
        pin = plan_pins.pin_plan(session, plan, PinRequest(why="in the paper"), who="bp_1234")
        assert plan_pins.pin_plan(session, plan, PinRequest(why="again"), who=LOCAL) == pin
        assert plan_pins.get_pin(session, plan) == pin
        plan_pins.unpin_plan(session, plan, who=LOCAL, why="retracted")
    with database.session() as session, pytest.raises(NotFoundError, match="is pinned"):
        plan_pins.unpin_plan(session, plan, who=LOCAL)
    with database.session() as session:
        plan_pins.delete_plan(session, plan, who=LOCAL, why="space")
    with database.session() as session, pytest.raises(NotFoundError, match="no plan"):
        plan_pins.delete_plan(session, plan, who=LOCAL)
    lines = [(line.action, line.who, line.why) for line in trail(database, plan=plan)]
    assert lines == [("deleted", LOCAL, "space"), ("unpinned", LOCAL, "retracted"), ("pinned", "bp_1234", "in the paper")]
    with database.session() as session:
        models.delete_model(session, "toy")
    assert len(trail(database)) == 3


def test_the_trail_is_paged_by_its_numbers(database: Database, toy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = stored_plan(database).id
    with database.session() as session:
        for number in range(5):
            plan_names.move_name(session, "toy", f"n{number}", MoveName(plan=plan), who=LOCAL)
    seen: list[str | None] = []
    cursor = None
    with database.read_session() as session:
        for _ in range(3):
            found = plan_trail.list_events(session, cursor=cursor, limit=2)
            seen += [line.name for line in found.items]
            cursor = found.next
        with pytest.raises(InvalidRequestError, match="start again"):
            plan_trail.list_events(session, cursor="-1")
    assert seen == ["n4", "n3", "n2", "n1", "n0"]
    assert cursor is None
    monkeypatch.setattr(plan_trail, "PAGE_LIMIT", 2)
    with database.read_session() as session:
        most = plan_trail.list_events(session, limit=3)
        assert [line.name for line in most.items] == seen[:2]
        assert [line.name for line in plan_trail.list_events(session, cursor=most.next).items] == seen[2:4]
