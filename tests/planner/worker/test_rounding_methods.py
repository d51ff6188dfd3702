"""The main job with every rounding method: measured, planned, evaluated and written with the same codes."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from planner.errors import ConflictError, InvalidRequestError
from planner.jobs.job import JobState
from planner.measuring import setting_of
from planner.schemas.jobs import RoundingName
from planner.schemas.plans import BudgetSpec, EvaluateRequest, PlanDocument, PlanRequest
from planner.services import evaluations, plans
from planner.services.curve_rounding import CurveRounding
from planner.storage.database import Database
from planner.storage.tables import ProbeSettingRow
from planner.worker.checkpoints import write_plan_checkpoint
from planner.worker.loaded_models import LoadedModels
from planner.worker.plan_rounding import plan_rounding
from sensitivity.formats.registry import get_format
from sensitivity.rounding.packing import compressed_tensors
from sensitivity.rounding_facts import all_rounding_facts
from tests import tiny_models
from tests.planner.worker.test_main_job import calibrate, finished, register, submit

METHODS = [facts.name for facts in all_rounding_facts()]


def make_plan(database: Database, model: str, setting: str) -> PlanDocument:
    request = PlanRequest(model=model, setting=setting, runtime="vllm", budget=BudgetSpec(effective_bits=4.5))
    with database.session() as session:
        return plans.create_plan(session, request)


def test_the_schema_lists_the_methods() -> None:
    assert list(get_args(RoundingName)) == METHODS


def test_settings_of_different_methods_never_mix() -> None:
    payload = {"probe": "weight_error", "probe_parameters": {}, "seed": 0, "calibration_id": "c"}
    settings = [setting_of(payload | {"rounding": name}) for name in METHODS]
    assert len({setting.id for setting in settings}) == len(METHODS)
    needing = [facts.needs_inputs for facts in all_rounding_facts()]
    assert [setting.calibration_id == "c" for setting in settings] == needing
    others = [setting_of(payload | {"rounding": name, "calibration_id": "d"}) for name in METHODS]
    assert [one.id != other.id for one, other in zip(settings, others, strict=True)] == needing


@pytest.mark.parametrize("rounding", METHODS[1:])
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_measured_planned_evaluated_and_written(database: Database, tmp_path: Path, rounding: str) -> None:
    source = tiny_models.tiny_llama(tmp_path / "llama")
    model, calibration = register(database, source), calibrate(database)
    job = finished(database, submit(database, model, calibration, probe="weight_error", rounding=rounding))
    assert job.state is JobState.SUCCEEDED, job.reason
    plan = make_plan(database, model, setting_of(job.request).id)
    assert plan.provenance.rounding == rounding
    with database.session() as session:
        request = EvaluateRequest(calibration=calibrate(database, sequences=7), baselines=[])
        queued = evaluations.submit_evaluation(session, plan.id, request)
    evaluated = finished(database, queued)
    assert evaluated.state is JobState.SUCCEEDED, evaluated.reason
    written = load_file(write_plan_checkpoint(database, plan.id, tmp_path / "written") / "model.safetensors")
    for name, expected in expected_tensors(database, plan).items():
        assert torch.equal(written[name], expected), name


def expected_tensors(database: Database, plan: PlanDocument) -> dict[str, Tensor]:
    """What the curves' codes pack to."""
    chosen = {choice.layer: get_format(choice.format) for choice in plan.choices}
    how = CurveRounding(plan.provenance.rounding, plan.provenance.calibration)
    rounded = plan_rounding(LoadedModels(database), plan.model, how, [chosen])
    return {
        f"{layer}.{part}": stored
        for layer, fmt in chosen.items()
        for part, stored in compressed_tensors(rounded.encode(layer, fmt)).items()
    }


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_method_with_data_needs_a_calibration_set_whatever_the_probe(database: Database, tmp_path: Path) -> None:
    model = register(database, tiny_models.tiny_llama(tmp_path / "llama"))
    with pytest.raises(InvalidRequestError, match="'gptq' runs on text"):
        submit(database, model, None, probe="weight_error", rounding="gptq")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_curves_of_another_version_are_not_rounded_as_if_nothing_had_changed(database: Database, tmp_path: Path) -> None:
    model = register(database, tiny_models.tiny_llama(tmp_path / "llama"))
    setting = setting_of(finished(database, submit(database, model, None, probe="weight_error")).request).id
    plan = make_plan(database, model, setting)
    calibration = calibrate(database)
    with database.session() as session:
        session.get_one(ProbeSettingRow, setting).rounding_version = 0
    with pytest.raises(ConflictError, match="measure the model again"):
        write_plan_checkpoint(database, plan.id, tmp_path / "written")
    with database.session() as session, pytest.raises(ConflictError, match="version 0 of 'rtn'"):
        evaluations.submit_evaluation(session, plan.id, EvaluateRequest(calibration=calibration))
