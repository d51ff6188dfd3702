"""Stored plans are found by every filter, alone and together, and no filter reads the whole table."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, insert, text
from sqlalchemy.orm import Session

from planner.schemas.plan_keeping import MoveName, PinRequest, PlanFilters, StoredPlan
from planner.services import plan_names, plan_pins
from planner.services.plan_listing import list_plans
from planner.services.plan_trail import LOCAL
from planner.storage.database import Database
from planner.storage.tables import PlanRow
from tests import synthetic
from tests.planner.services.stored_plans import measured_model

START = datetime(2026, 1, 1, tzinfo=UTC)
MODELS = ("toy", "other")
RUNTIMES = ("generic", "vllm")
PROBES = ("fisher", "kl")
BUDGETS: tuple[dict[str, float], ...] = (
    {"effective_bits": 4.25},
    {"effective_bits": 5.0},
    {"file_bytes": 2**60 - 1},
    {"file_bytes": 10_000},
)
"""2^60 − 1 is not a float64."""


@pytest.fixture
def plans(database: Database) -> list[StoredPlan]:
    """Rows of every combination, one a minute; the second is named and pinned, the third pinned."""
    ids = {name: measured_model(database, name) for name in MODELS}
    setting = synthetic.setting().id
    rows = [
        _row(number, ids[model], setting, runtime, probe, budget)
        for number, (model, runtime, probe, budget) in enumerate(itertools.product(MODELS, RUNTIMES, PROBES, BUDGETS))
    ]
    with database.session() as session:
        session.execute(insert(PlanRow), rows)
        plan_names.move_name(session, "toy", "production", MoveName(plan=rows[1]["id"]), who=LOCAL)
        for row in rows[1:3]:
            plan_pins.pin_plan(session, row["id"], PinRequest(), who=LOCAL)
    with database.read_session() as session:
        return list_plans(session, limit=200).items


def _row(number: int, model: str, setting: str, runtime: str, probe: str, budget: dict[str, float]) -> dict[str, Any]:
    ((kind, value),) = budget.items()
    facts = dict.fromkeys(("size_bits", "file_bytes", "effective_bits", "predicted_loss", "gap"), 1)
    return facts | {
        "id": f"{number:024x}",
        "model_id": model,
        "setting_id": setting,
        "probe": probe,
        "rounding": "rtn",
        "runtime": runtime,
        "solver": "mckp",
        "status": "optimal",
        "budget": budget,
        "budget_kind": kind,
        "budget_value": value,
        "created_at": START + timedelta(minutes=number),
    }


def found(database: Database, **filters: Any) -> list[StoredPlan]:
    with database.read_session() as session:
        return list_plans(session, PlanFilters.model_validate(filters), limit=200).items


def _fits(plan: StoredPlan, filters: PlanFilters, models: dict[str, str]) -> bool:
    value = None if filters.budget_kind is None else getattr(plan.budget, filters.budget_kind.value)
    checks = [
        filters.model is None or models[filters.model] == plan.model,
        filters.runtime in (None, plan.runtime),
        filters.probe in (None, plan.probe),
        filters.budget_kind is None or value is not None,
        value is None or (filters.budget_min or 0) <= value,
        value is None or filters.budget_max is None or value <= filters.budget_max,
        filters.since is None or filters.since <= plan.created_at,
        filters.until is None or plan.created_at < filters.until,
        filters.name is None or filters.name in plan.names,
        filters.pinned in (None, plan.pinned),
    ]
    return all(checks)


_TIMES = st.none() | st.integers(0, 40).map(lambda minutes: START + timedelta(minutes=minutes))
_FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(MODELS),
        "runtime": st.sampled_from((*RUNTIMES, "abacus")),
        "probe": st.sampled_from(PROBES),
        "budget_kind": st.sampled_from(("effective_bits", "file_bytes")),
        "since": _TIMES,
        "until": _TIMES,
        "name": st.sampled_from(("production", "canary")),
        "pinned": st.booleans(),
    },
)


@settings(
    max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(asked=_FILTERS, least=st.sampled_from((None, 0, 4.25, 20_000)), most=st.sampled_from((None, 4.25, 10_000, 2**60)))
def test_filters_mean_what_they_say(
    database: Database, plans: list[StoredPlan], asked: dict[str, Any], least: float | None, most: float | None
) -> None:
    if "budget_kind" in asked:
        asked = asked | {"budget_min": least, "budget_max": most}
    filters = PlanFilters.model_validate(asked)
    models = {"toy": plans[-1].model, "other": plans[0].model}
    with database.read_session() as session:
        listed = list_plans(session, filters, limit=200).items
    assert listed == [plan for plan in plans if _fits(plan, filters, models)]


def test_a_list_says_what_plans_are_called(plans: list[StoredPlan]) -> None:
    assert [(plan.names, plan.pinned) for plan in plans[-3:]] == [([], True), (["production"], True), ([], False)]
    assert plans[-3].budget.file_bytes == 2**60 - 1


def test_pages_are_the_filtered_list(database: Database, plans: list[StoredPlan]) -> None:
    filters = PlanFilters(runtime="vllm", pinned=False)
    seen: list[StoredPlan] = []
    cursor: str | None = None
    with database.read_session() as session:
        while True:
            page = list_plans(session, filters, cursor=cursor, limit=3)
            seen += page.items
            cursor = page.next
            if cursor is None:
                break
    assert seen == found(database, runtime="vllm", pinned=False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"budget_min": 4},
        {"budget_kind": "hope"},
        {"budget_kind": "effective_bits", "budget_max": "nan"},
        {"since": "2026-01-01T00:00:00"},
        {"name": "a b"},
        {"nmae": "production"},
    ],
)
def test_filters_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        PlanFilters.model_validate(wrong)


EVERY_FILTER: list[dict[str, Any]] = [
    {},
    {"model": "toy"},
    {"runtime": "vllm"},
    {"probe": "kl"},
    {"budget_kind": "file_bytes"},
    {"budget_kind": "effective_bits", "budget_min": 4, "budget_max": 4.5},
    {"since": START},
    {"until": START + timedelta(minutes=5)},
    {"name": "production"},
    {"pinned": True},
    {"pinned": False},
    {"model": "toy", "runtime": "vllm", "probe": "kl", "budget_kind": "effective_bits", "since": START},
]


def test_no_filter_reads_the_whole_table(database: Database, plans: list[StoredPlan]) -> None:
    """As the databases themselves say; PostgreSQL is told that a small table is to be treated like a large one."""
    with database.read_session() as session:
        if not database.is_sqlite:
            session.execute(text("SET LOCAL enable_seqscan = off"))
        second = list_plans(session, limit=3).next
        for filters, cursor in itertools.product(EVERY_FILTER, (None, second)):
            statement, parameters = _statement(database, session, PlanFilters.model_validate(filters), cursor)
            steps = _steps(session, statement, parameters, sqlite=database.is_sqlite)
            assert not [step for step in steps if _reads_all(step, sqlite=database.is_sqlite)], (filters, steps)


def _statement(database: Database, session: Session, filters: PlanFilters, cursor: str | None) -> tuple[str, Any]:
    """What the list asks the database for."""
    statements: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "FROM plans" in statement:
            statements.append((statement, parameters))

    event.listen(database.reading, "before_cursor_execute", note)
    try:
        list_plans(session, filters, cursor=cursor, limit=3)
    finally:
        event.remove(database.reading, "before_cursor_execute", note)
    (found,) = statements
    return found


def _steps(session: Session, statement: str, parameters: Any, *, sqlite: bool) -> list[str]:
    connection = session.connection()
    if sqlite:
        return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    return [row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)]


def _reads_all(step: str, *, sqlite: bool) -> bool:
    """``SCAN plans USING INDEX`` walks in the order of the page, and stops at its end."""
    return step.startswith("SCAN plans") and "USING" not in step if sqlite else "Seq Scan on plans" in step
