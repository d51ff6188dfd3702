"""What a question shares is remembered, and never outlives what it was made from, whoever writes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from planner.cells import Cell
from planner.errors import BudgetAboveCeilingError, NotFoundError, UnmeasuredError
from planner.schemas.plans import PlanDocument, PlanRequest
from planner.services import models
from planner.services.plans import make_plan
from planner.services.preparing import Prepared, prepare
from planner.services.whole_problem import WholeProblem
from planner.storage.cells import store_cells
from planner.storage.database import Database
from sensitivity.formats.registry import get_format
from sensitivity.statistics import CellStatus
from tests import synthetic
from tests.planner.services import cached_model

DESCRIBED = synthetic.description()


@pytest.fixture
def other(database: Database) -> Iterator[Database]:
    """The same database as another process has it."""
    opened = Database(database.url)
    yield opened
    opened.close()


def _measure(database: Database, *, seed: int = 0, name: str = "toy") -> str:
    described = synthetic.description(name=name)
    with database.session() as session:
        synthetic.add_model(session, described)
        return synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)), seed=seed)


def _asked(**fields: Any) -> PlanRequest:
    return PlanRequest.model_validate({"model": "toy", "budget": {"effective_bits": 4.5}} | fields)


def _prepared(database: Database, **fields: Any) -> Prepared:
    with database.read_session() as session:
        return prepare(session, _asked(**fields))


def _plan(database: Database, **fields: Any) -> PlanDocument:
    with database.read_session() as session:
        return make_plan(session, _asked(**fields))


def _facts(plan: PlanDocument) -> dict[str, Any]:
    """All of a plan but its id and times."""
    facts = plan.model_dump(mode="json", exclude={"id", "created_at"})
    del facts["proof"]["solve_seconds"]
    return facts


def test_it_is_prepared_once_for_all_budgets(database: Database) -> None:
    _measure(database)
    first = _prepared(database)
    assert _prepared(database, budget={"effective_bits": 6}, caution=1.0, counts=[{"above_bits": 4, "at_most": 3}]) is first
    assert _prepared(database, model=first.selected.model.id) is first
    for fields in ({"runtime": "vllm"}, {"pins": {"*.q_proj": "INT8_G64"}}, {"shrinkage": False}, {"formats": ["INT4_G64"]}):
        assert _prepared(database, **fields) is not first
    assert _prepared(database) is first


def test_plans_from_memory_are_those_of_a_process_that_remembers_nothing(database: Database, other: Database) -> None:
    _measure(database)
    for fields in ({}, {"runtime": "vllm"}, {"formats": ["INT3_G64", "INT8_G64"]}, {"menus": {"*.q_proj": ["INT4_G64"]}}):
        for bits in (3.5, 4.25, 4.25, 5.5):
            asked = fields | {"budget": {"effective_bits": bits}}
            other.memory = type(other.memory)(0)
            assert _facts(_plan(database, **asked)) == _facts(_plan(other, **asked))


def test_a_question_that_was_answered_is_not_solved_again(database: Database) -> None:
    _measure(database)
    first, again = _plan(database), _plan(database)
    assert first.id != again.id
    assert first.proof.solve_seconds == again.proof.solve_seconds
    assert _facts(first) == _facts(again)
    solutions = _prepared(database).solutions
    assert len(solutions) == 1
    for fields in ({"budget": {"effective_bits": 5}}, {"counts": [{"above_bits": 4, "at_most": 5}]}):
        assert _plan(database, **fields).proof.status == "optimal"
    assert len(solutions) == 3


def test_the_latest_problem_is_remembered_however_large(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("planner.services.preparing.SOLUTIONS_BYTES", 1000)
    with database.session() as session:
        cached_model.add(session)
    prepared = _prepared(database, kv_formats=["measured"])
    first = prepared.problem(context=1024, batch=1)
    assert first.bytes > 1000
    assert prepared.problem(context=1024, batch=1) is first
    assert prepared.problems.bytes == first.bytes < prepared.bytes
    assert prepared.problem(context=2048, batch=1).cache_bits(_smallest(first)) == 2 * (first.cache_bits(_smallest(first)) or 0)


def _smallest(whole: WholeProblem) -> NDArray[np.int64]:
    choice: NDArray[np.int64] = np.where(whole.classes.legal, whole.classes.sizes, np.iinfo(np.int64).max).argmin(axis=1)
    return choice


def test_a_plan_that_was_not_proven_in_time_is_solved_again(database: Database) -> None:
    _measure(database)
    assert _plan(database, deadline_seconds=1e-9).proof.status != "optimal"
    assert _plan(database).proof.status == "optimal"


def test_what_is_remembered_outlives_a_transaction_that_is_rolled_back(database: Database) -> None:
    _measure(database)
    with pytest.raises(BudgetAboveCeilingError), database.session() as session:
        make_plan(session, _asked(budget={"effective_bits": 40}))
    plan = _plan(database)
    assert (plan.model_name, plan.provenance.probe) == ("toy", "fisher")


def test_cells_that_another_process_writes_are_seen_at_once(database: Database, other: Database) -> None:
    setting = _measure(database)
    before = _plan(database)
    layer, fmt = DESCRIBED.layers[0].name, get_format("INT8_G64")
    loss = before.predicted.loss
    how = synthetic.setting(before.provenance.calibration)
    assert how.id == setting
    with other.session() as session:
        cell = Cell(layer, fmt.name, fmt.identity, CellStatus.MEASURED, 1e-9, 1e-10, 16.0, 1.6e-8, 1.7e-17)
        store_cells(session, DESCRIBED.fingerprint, how, [cell])
    after = _plan(database)
    assert after.predicted.loss != loss
    assert _facts(after) == _facts(_plan(other))


def test_a_better_probe_a_deletion_and_a_new_registration_are_seen_at_once(database: Database, other: Database) -> None:
    _measure(database)
    assert _plan(database).predicted.probe == "fisher"
    with other.session() as session:
        synthetic.add_cells(session, DESCRIBED, synthetic.setting(None, probe="kl"), seed=1)
    assert _plan(database).predicted.probe == "kl"
    with other.session() as session:
        models.delete_model(session, DESCRIBED.fingerprint)
    with pytest.raises(NotFoundError, match="register it first"):
        _plan(database)
    with other.session() as session:
        synthetic.add_model(session)
    with pytest.raises(UnmeasuredError):
        _plan(database)
    _measure(other, seed=2)
    assert _facts(_plan(database)) == _facts(_plan(other))


def test_a_name_goes_to_the_newest_model(database: Database, other: Database) -> None:
    _measure(database)
    first = _plan(database).model
    newer = synthetic.description(blocks=1, name="toy again")
    with other.session() as session:
        models.register(session, newer, name="toy")
        synthetic.add_cells(session, newer, synthetic.setting(synthetic.add_calibration(session)))
    assert first == DESCRIBED.fingerprint
    assert _plan(database).model == newer.fingerprint
    assert _plan(database, model=first).model == first


def test_nobody_can_change_the_curves_that_questions_share(database: Database) -> None:
    _measure(database)
    inputs = _prepared(database).inputs
    for curves in (inputs.measured, inputs.expected):
        assert curves is not None
        assert not any(array.flags.writeable for array in (curves.loss, curves.standard_error, curves.status))
    with pytest.raises(ValueError, match="read-only"):
        inputs.measured.loss[0, 0] = np.nan
