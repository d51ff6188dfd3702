"""The main job on a mixture of experts: experts tied by block, router flips stored beside KL."""

from pathlib import Path

import numpy as np
import pytest

from planner.cli.rendering import show_evaluations
from planner.errors import InvalidRequestError
from planner.jobs.job import JobState
from planner.schemas.jobs import SubmitSensitivity
from planner.schemas.plans import BudgetSpec, EvaluateRequest, PlanRequest
from planner.services import curves, evaluations, jobs, models, plans
from planner.storage.database import Database
from planner.worker.handlers import _with_all_metrics
from sensitivity.evaluation import Metric
from tests import tiny_models
from tests.planner.worker.test_main_job import calibrate, finished, register, submit


def test_router_flips_are_evaluated_with_the_plan(database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_models.tiny_mixtral(tmp_path / "mixtral")
    model, calibration = register(database, tmp_path / "mixtral"), calibrate(database)
    job = submit(database, model, None, probe="weight_error")
    assert finished(database, job).state is JobState.SUCCEEDED
    request = PlanRequest(model=model, experts="block", budget=BudgetSpec(effective_bits=4.3))
    with database.session() as session:
        plan = plans.create_plan(session, request)
        queued = evaluations.submit_evaluation(session, plan.id, EvaluateRequest(calibration=calibration))
    assert sorted(len(group.layers) for group in plan.groups if "experts" in group.layers[0]) == [12, 12]
    assert finished(database, queued).state is JobState.SUCCEEDED
    with database.read_session() as session:
        found = evaluations.list_evaluations(session, plan.id).items
    assert found
    assert all(item.router_flips is not None and 0 < item.router_flips.value < 1 for item in found)
    _count_tokens(database, model, calibration)
    show_evaluations(found)
    assert "router flips" in capsys.readouterr().out


def _count_tokens(database: Database, model: str, calibration: str) -> None:
    """Tokens of each expert are measured like anything else, and are no losses to plan with."""
    request = SubmitSensitivity(model=model, probe="routing", calibration=calibration)
    with database.session() as session:
        job = jobs.submit_sensitivity(session, request)
    assert finished(database, job).state is JobState.SUCCEEDED
    with database.read_session() as session:
        shares = curves.get_curves(session, model, probe="routing").items
        listed = models.list_layers(session, model).items
    fractions = {layer.name: layer.active_fraction for layer in listed if layer.expert is not None}
    of_experts = {cell.layer: cell.loss or 0.0 for cell in shares if cell.layer in fractions}
    assert sum(of_experts.values()) == pytest.approx(sum(fractions.values()))
    with database.read_session() as session, pytest.raises(InvalidRequestError, match="routing"):
        plans.make_plan(session, PlanRequest(model=model, probe="routing", budget=BudgetSpec(effective_bits=4.3)))


def test_units_of_an_older_version_lack_the_metric() -> None:
    old = np.ones((2, len(Metric) - 1, 3))
    padded = _with_all_metrics(old)
    assert padded.shape == (2, len(Metric), 3)
    assert not padded[:, Metric.ROUTER_FLIPS].any()
    np.testing.assert_array_equal(_with_all_metrics(padded), padded)
