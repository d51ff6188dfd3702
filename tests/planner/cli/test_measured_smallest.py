"""The smallest plan of a measured loss: the bisection over real plans, with made-up measurements."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from planner.cli.measured_smallest import FAMILY, plan_by_measuring
from planner.cli.reporting import JobFailedError
from planner.errors import BudgetError, InvalidRequestError
from planner.jobs.job import JobState
from planner.operations import AbstractOperations
from planner.schemas.frontiers import FrontierDocument, FrontierRequest
from planner.schemas.plan_keeping import PlanFilters, PlanPage
from planner.schemas.plans import EvaluateRequest, Evaluation, Measured, PlanDocument, PlanRequest
from planner.services import frontiers, plan_listing, plans
from planner.storage.database import Database
from planner.storage.tables import utc_now
from tests import synthetic
from tests.planner.services import cached_model


class Bench:
    """Plans of the store; what is measured is a function of the prediction.

    Attributes:
        evaluations: that were carried out.
        stops_at: the evaluation that does not end, counted from 1.
        stopped_by: what it raises instead.
    """

    def __init__(self, database: Database, measured: Callable[[float], float]) -> None:
        self.database, self.measured = database, measured
        self.evaluations = 0
        self.stops_at, self.stopped_by = 0, BaseException()
        self.jobs: dict[str, SimpleNamespace] = {}
        self.results: dict[str, list[Evaluation]] = {}

    @contextmanager
    def working(self) -> Iterator[None]:
        yield

    def make_frontier(self, request: FrontierRequest) -> FrontierDocument:
        with self.database.read_session() as session:
            return frontiers.make_frontier(session, request)

    def create_plan(self, request: PlanRequest) -> PlanDocument:
        with self.database.session() as session:
            return plans.create_plan(session, request)

    def get_plan(self, plan_id: str) -> PlanDocument:
        with self.database.read_session() as session:
            return plans.get_plan(session, plan_id)

    def list_plans(self, filters: PlanFilters, *, limit: int) -> PlanPage:
        with self.database.read_session() as session:
            return plan_listing.list_plans(session, filters, limit=limit)

    def list_jobs(self, *, model: str, limit: int) -> Any:
        return SimpleNamespace(items=list(self.jobs.values()))

    def evaluate_plan(self, plan_id: str, request: EvaluateRequest) -> Any:
        assert request.baselines == []
        asked = {"plan_id": plan_id, "calibration_id": self.get_plan(plan_id).provenance.calibration}
        job = SimpleNamespace(
            id=f"job of {plan_id}", kind="evaluation", state=JobState.QUEUED, failed=0, left_out={}, request=asked
        )
        self.jobs[job.id] = job
        return job

    def get_job(self, job_id: str) -> Any:
        job = self.jobs[job_id]
        self.evaluations += 1
        if self.evaluations == self.stops_at:
            raise self.stopped_by
        job.state = JobState.SUCCEEDED
        self._store(job)
        return job

    def _store(self, job: SimpleNamespace) -> None:
        plan = self.get_plan(job.request["plan_id"])
        one = Measured(value=1.0, standard_error=None)
        found = Evaluation(
            label="plan",
            plan=plan.id,
            job=job.id,
            calibration=job.request["calibration_id"],
            sequences=1,
            effective_bits=plan.size.effective_bits,
            size_bits=plan.size.layer_bits,
            kl=Measured(value=self.measured(plan.predicted.loss), standard_error=None),
            perplexity=one,
            reference_perplexity=one,
            top1_agreement=one,
            created_at=utc_now(),
        )
        self.results[plan.id] = [found]

    def list_evaluations(self, plan_id: str) -> Any:
        return SimpleNamespace(items=self.results.get(plan_id, []))


@pytest.fixture
def database(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    with cached_model.opened(sqlite_template, tmp_path) as opened:
        yield opened


@pytest.fixture
def toy(database: Database) -> Database:
    described = synthetic.description()
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)))
    return database


def _ask(bench: Bench, *, runtime: str = "generic", as_json: bool = True, **budget: object) -> None:
    request = PlanRequest.model_validate({"model": "toy", "runtime": runtime, "budget": budget})
    plan_by_measuring(cast(AbstractOperations, bench), request, as_json=as_json)


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


@pytest.mark.parametrize("stopped_by", [JobFailedError("job 1 failed: the worker's memory is full"), KeyboardInterrupt()])
@pytest.mark.parametrize("under_way", [True, False])
def test_a_search_that_was_stopped_keeps_what_it_found_and_goes_on(
    toy: Database, capsys: pytest.CaptureFixture[str], stopped_by: BaseException, under_way: bool
) -> None:
    whole = Bench(toy, lambda predicted: 1.3 * predicted)
    _ask(whole, max_loss=0.05)
    wanted = json.loads(capsys.readouterr().out)
    bench = Bench(toy, whole.measured)
    bench.stops_at, bench.stopped_by = 6, stopped_by
    with pytest.raises(type(stopped_by)) as error:
        _ask(bench, max_loss=0.05)
    said = capsys.readouterr().err
    assert "stopped; 5 plans are measured and stay stored: the smallest that loses 0.05 or less is plan" in said
    assert "not shown to be the smallest of all. The same command goes on from here" in said
    if isinstance(error.value, JobFailedError):
        assert str(error.value.fields["plan_so_far"]) in said
    if not under_way:  # the job ended without a result
        bench.jobs = {name: job for name, job in bench.jobs.items() if job.state is JobState.SUCCEEDED}
    before = bench.evaluations
    _ask(bench, max_loss=0.05)
    found = json.loads(capsys.readouterr().out)
    assert [step["loss"] for step in found["measured"]] == [step["loss"] for step in wanted["measured"]]
    assert bench.evaluations - before == whole.evaluations - 5  # nothing was evaluated twice
    assert len(bench.results) == whole.evaluations
    again = bench.evaluations
    _ask(bench, max_loss=0.05)
    assert bench.evaluations == again
    assert json.loads(capsys.readouterr().out)["evaluation"] == found["evaluation"]


def test_a_plan_is_of_the_runtime_asked_for_whoever_was_measured(toy: Database, capsys: pytest.CaptureFixture[str]) -> None:
    bench = Bench(toy, lambda predicted: 1.3 * predicted)
    _ask(bench, max_loss=0.05, runtime="evopress")
    first, before = json.loads(capsys.readouterr().out), bench.evaluations
    _ask(bench, max_loss=0.05, runtime="hqq")
    second = json.loads(capsys.readouterr().out)
    assert [found["plan"]["runtime"] for found in (first, second)] == ["evopress", "hqq"]
    weights = [{choice["layer"]: choice["format"] for choice in found["plan"]["choices"]} for found in (first, second)]
    assert weights[0] == weights[1]
    assert second["evaluation"] == first["evaluation"]  # of the weights, whoever loads them
    assert bench.evaluations == before
    _ask(bench, max_loss=0.05, runtime="hqq", as_json=False)
    assert f"measured as plan {first['plan']['id']}, which has the same weights" in capsys.readouterr().err


def test_nothing_is_said_of_a_search_that_measured_nothing(toy: Database, capsys: pytest.CaptureFixture[str]) -> None:
    bench = Bench(toy, lambda predicted: predicted)
    bench.stops_at, bench.stopped_by = 1, JobFailedError("job 1 failed")
    with pytest.raises(JobFailedError) as error:
        _ask(bench, max_loss=0.05)
    assert error.value.fields == {"measured": [], "plan_so_far": None}
    assert "stopped" not in capsys.readouterr().err
