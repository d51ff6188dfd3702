"""A plan refined: measured around by a worker, and the next plan of the same question by a short step."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from api.app import create_app
from planner.cli import workspace
from planner.cli.app import app
from planner.errors import InvalidRequestError, UnmeasuredError
from planner.jobs.job import JobState
from planner.schemas.calibrations import CreateCalibration
from planner.schemas.jobs import SubmitSensitivity
from planner.schemas.plans import BudgetSpec, MeasureAroundRequest, PlanDocument, PlanRequest, RefineRequest
from planner.services import calibrations, jobs, models, plan_listing, plans, refining
from planner.settings import Settings
from planner.storage.database import Database
from planner.worker.loaded_models import LoadedModels
from planner.worker.process import make_worker
from sensitivity.evaluation import evaluate, summarise
from sensitivity.formats.registry import get_format
from tests.tiny_models import tiny_llama

FORMATS = ["INT3_G32", "INT4_G32", "INT5_G32", "INT6_G32"]
TEXT = " ".join(f"The {n}th sentence says that {n} and {n * n} are numbers." for n in range(300))
CUT = CreateCalibration(text=TEXT, sequences=24, sequence_length=16, held_out_sequences=1, held_out_length=16)
AROUND = MeasureAroundRequest(draws=8)

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture
def plan(database: Database, tmp_path: Path) -> PlanDocument:
    """A stored plan from the curves of `weight_error`, which know nothing of the text."""
    described, text = models.inspect(str(tiny_llama(tmp_path / "llama", hidden=32, ffn=64))), calibrations.prepare(CUT)
    with database.session() as session:
        model = models.register(session, described)[0].id
        calibrations.create(session, text)
        jobs.submit_sensitivity(session, SubmitSensitivity(model=model, probe="weight_error", formats=FORMATS))
    work(database)
    with database.session() as session:
        found = plans.make_plan(session, PlanRequest(model=model, budget=BudgetSpec(effective_bits=5.0), alternatives=1))
        plans.store_plan(session, found)
        return found


@pytest.fixture
def calibration(database: Database) -> str:
    with database.session() as session:
        return calibrations.create(session, calibrations.prepare(CUT))[0].id


def work(database: Database) -> None:
    make_worker(database, Settings(lease_seconds=30, torch_threads=1), poll_seconds=0.05).run(until_idle=True)


def measure_around(database: Database, plan: PlanDocument, calibration: str) -> None:
    with database.session() as session:
        refining.submit_around(session, plan.id, AROUND.model_copy(update={"calibration": calibration}))
    work(database)


def kl_of(database: Database, plan: PlanDocument, calibration: str) -> float:
    loaded = LoadedModels(database)
    tokens = loaded.tokens(plan.model, calibration).calibration
    layers = {choice.layer: get_format(choice.format) for choice in plan.choices}
    return summarise(evaluate(loaded.get(plan.model), [layers], tokens)[0]).kl


def test_steps_make_plans_that_measure_better(database: Database, plan: PlanDocument, calibration: str) -> None:
    """On the text that was measured, of the same size, and with what the prediction says."""
    with database.read_session() as session, pytest.raises(UnmeasuredError, match="bitplan refine"):
        refining.refine_plan(session, plan.id, RefineRequest())
    measure_around(database, plan, calibration)
    before = kl_of(database, plan, calibration)
    with database.session() as session:
        better = refining.refine_plan(session, plan.id, RefineRequest(step_errors=0.25))
        plans.store_plan(session, better)
        assert plans.get_plan(session, better.id) == better
    step = better.predicted.step
    assert step is not None
    assert step.from_loss == pytest.approx(before, rel=1e-4)
    assert step.layers == sum(a.format != b.format for a, b in zip(plan.choices, better.choices, strict=True)) > 0
    assert step.change < 0
    assert better.predicted.loss <= step.from_loss
    assert better.size.layer_bits <= plan.proof.budget_layer_bits
    assert kl_of(database, better, calibration) < before
    assert (better.provenance.probe, better.predicted.unit) == ("marginal", "nats/token")


def test_what_was_measured_around_is_not_measured_again(database: Database, plan: PlanDocument, calibration: str) -> None:
    measure_around(database, plan, calibration)
    request = AROUND.model_copy(update={"calibration": calibration})
    with database.session() as session:
        again = refining.submit_around(session, plan.id, request)
        assert (again.state, again.total) == (JobState.SUCCEEDED, 0)
        twin = plans.make_plan(session, plan.request)
        plans.store_plan(session, twin)
        assert refining.submit_around(session, twin.id, request).state is JobState.SUCCEEDED
        forced = refining.submit_around(session, plan.id, request.model_copy(update={"force": True}))
        assert forced.state is JobState.QUEUED
        assert refining.submit_around(session, plan.id, request.model_copy(update={"force": True})).id == forced.id


def test_changes_are_no_curves_to_plan_with(database: Database, plan: PlanDocument, calibration: str) -> None:
    """A plan that names no setting is made from losses; a job of changes names its plan."""
    measure_around(database, plan, calibration)
    with database.session() as session:
        fresh = plans.make_plan(session, plan.request)
        assert fresh.provenance.probe == "weight_error"
        assert fresh.predicted.step is None
        request = SubmitSensitivity(model=plan.model, probe="marginal", formats=FORMATS, calibration=calibration)
        with pytest.raises(InvalidRequestError, match="around a plan"):
            jobs.submit_sensitivity(session, request)


def test_a_plan_without_text_needs_one(database: Database, plan: PlanDocument) -> None:
    with database.session() as session, pytest.raises(InvalidRequestError, match="name a calibration set"):
        refining.submit_around(session, plan.id, AROUND)


def test_over_rest(database: Database, plan: PlanDocument, calibration: str) -> None:
    with TestClient(create_app(Settings(), database), "http://127.0.0.1", client=("127.0.0.1", 50_000)) as client:
        refused = client.post(f"/v1/plans/{plan.id}/refine", json={})
        assert (refused.status_code, refused.json()["plan"]) == (422, plan.id)
        queued = client.post(f"/v1/plans/{plan.id}/measure", json={"calibration": calibration})
        assert (queued.status_code, queued.headers["location"]) == (202, f"/v1/jobs/{queued.json()['id']}")
        work(database)
        made = client.post(f"/v1/plans/{plan.id}/refine", json={"step_errors": 0.5})
        assert made.status_code == 201
        assert client.get(made.headers["location"]).json() == made.json()
        stays = client.post(f"/v1/plans/{plan.id}/refine", json={"step_errors": 100})  # no change is as sure as that
        assert (stays.status_code, stays.json()["id"]) == (200, plan.id)
        cells = client.get(f"/v1/models/{plan.model}/curves", params={"probe": "marginal"}).json()
        losses = np.array([item["loss"] for item in cells["items"]])
        assert (losses < 0).any()
        assert (losses == 0).any()


@pytest.fixture
def at_home(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands find this database."""
    monkeypatch.setenv("BITPLAN_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("BITPLAN_DATABASE_URL", database.engine.url.render_as_string(hide_password=False))
    for cached in (workspace.settings, workspace.open_database):
        cached.cache_clear()
    yield
    workspace.open_database().close()
    for cached in (workspace.settings, workspace.open_database):
        cached.cache_clear()


@pytest.mark.usefixtures("at_home")
def test_the_command_steps_until_nothing_is_surely_better(database: Database, plan: PlanDocument, calibration: str) -> None:
    asked = ["--calibration", calibration, "--draws", "2"]
    result = CliRunner().invoke(app, ["refine", plan.id, "--rounds", "2", "--step-errors", "0.25", *asked])
    assert result.exit_code == 0, result.output
    assert "layers change" in result.output
    assert "layers changed" in result.output
    result = CliRunner().invoke(app, ["refine", plan.id, "--rounds", "2", "--step-errors", "100", *asked])
    assert f"no change of plan {plan.id} is surely better: it stays" in result.output
    with database.read_session() as session:
        assert len(plan_listing.list_plans(session).items) > 1
