"""The smallest plan of a measured loss: the bisection over real plans, with made-up measurements."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from planner.cli.measured_smallest import FAMILY, plan_by_measuring
from planner.errors import BudgetError, InvalidRequestError
from planner.jobs.job import JobState
from planner.operations import AbstractOperations
from planner.schemas.frontiers import FrontierDocument, FrontierRequest
from planner.schemas.plans import EvaluateRequest, Evaluation, Measured, PlanDocument, PlanRequest
from planner.services import frontiers, plans
from planner.storage.database import Database
from planner.storage.tables import utc_now
from tests import synthetic
from tests.planner.services import cached_model


class Bench:
    """Plans of the store; what is measured is a function of the prediction."""

    def __init__(self, database: Database, measured: Callable[[float], float]) -> None:
        self.database, self.measured = database, measured
        self.plans: dict[str, PlanDocument] = {}

    @contextmanager
    def working(self) -> Iterator[None]:
        yield

    def make_frontier(self, request: FrontierRequest) -> FrontierDocument:
        with self.database.read_session() as session:
            return frontiers.make_frontier(session, request)

    def create_plan(self, request: PlanRequest) -> PlanDocument:
        with self.database.read_session() as session:
            plan = plans.make_plan(session, request)
        self.plans[plan.id] = plan
        return plan

    def evaluate_plan(self, plan_id: str, request: EvaluateRequest) -> Any:
        assert request.baselines == []
        return SimpleNamespace(id=f"job of {plan_id}")

    def get_job(self, job_id: str) -> Any:
        return SimpleNamespace(id=job_id, state=JobState.SUCCEEDED, failed=0)

    def list_evaluations(self, plan_id: str) -> Any:
        plan = self.plans[plan_id]
        one = Measured(value=1.0, standard_error=None)
        found = Evaluation(
            label="plan",
            plan=plan_id,
            job=f"job of {plan_id}",
            calibration="text",
            sequences=1,
            effective_bits=plan.size.effective_bits,
            size_bits=plan.size.layer_bits,
            kl=Measured(value=self.measured(plan.predicted.loss), standard_error=None),
            perplexity=one,
            reference_perplexity=one,
            top1_agreement=one,
            created_at=utc_now(),
        )
        return SimpleNamespace(items=[found])


@pytest.fixture
def database(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    with cached_model.opened(sqlite_template, tmp_path) as opened:
        yield opened


@pytest.fixture
def toy(database: Database) -> Database:
    described = synthetic.description()
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting())
    return database


def _ask(bench: Bench, **budget: object) -> None:
    request = PlanRequest.model_validate({"model": "toy", "budget": budget})
    plan_by_measuring(cast(AbstractOperations, bench), request, as_json=True)


def test_the_smallest_plan_of_the_family_is_found_in_a_few_evaluations(toy: Database, capsys: pytest.CaptureFixture[str]) -> None:
    bench = Bench(toy, lambda predicted: 1.3 * predicted)
    _ask(bench, max_loss=0.05)
    found = json.loads(capsys.readouterr().out)
    assert found["evaluation"]["kl"]["value"] <= 0.05
    assert found["plan"]["budget"]["effective_bits"] > found["largest_that_loses_more"]
    assert len(found["measured"]) <= 7 + 2
    below = next(step for step in found["measured"] if step["effective_bits"] == found["largest_that_loses_more"])
    assert below["loss"] > 0.05
    family = bench.make_frontier(FrontierRequest(model="toy", points=FAMILY)).points
    fitting = [point.effective_bits for point in family if 1.3 * point.predicted_loss <= 0.05]
    assert found["plan"]["budget"]["effective_bits"] == pytest.approx(min(fitting))


def test_other_limits_hold(toy: Database, capsys: pytest.CaptureFixture[str]) -> None:
    _ask(Bench(toy, lambda predicted: predicted), max_loss=0.05, bit_operations=10**8, effective_bits=7.0)
    found = json.loads(capsys.readouterr().out)
    kinds = {limit["kind"] for limit in found["plan"]["limits"]}
    assert kinds == {"effective_bits", "bit_operations"}


def test_what_cannot_be_found_is_said(toy: Database) -> None:
    with pytest.raises(BudgetError, match=r"the least was 9\. Raise --max-loss"):
        _ask(Bench(toy, lambda _: 9.0), max_loss=0.05)
    with pytest.raises(InvalidRequestError, match="give --max-loss, and no --kv"):
        _ask(Bench(toy, lambda _: 0.0), effective_bits=4.5)
