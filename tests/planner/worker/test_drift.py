"""A fine-tune of a measured model: what moved is found, only that is measured, and the rest says where it is from."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from planner.errors import InvalidRequestError, NotFoundError, UnmeasuredError
from planner.jobs.job import JobState
from planner.schemas.curves import CurvesDocument
from planner.schemas.drifts import DriftDocument, SubmitDrift
from planner.schemas.jobs import Job, SubmitSensitivity
from planner.schemas.plans import BudgetSpec, PlanRequest
from planner.services import curves, drift, job_previews, jobs, models, plans
from planner.services.curves import curves_csv
from planner.storage.database import Database
from planner.worker.drift_handler import relative_change
from tests import tiny_models
from tests.planner.worker.test_main_job import calibrate, finished, register, work

FORMATS = ["INT4_G64", "INT8_G64"]
ON_SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # what differs by backend is tested by the first two
FAR, NEAR = "model.layers.1.mlp.up_proj", "model.layers.0.self_attn.q_proj"


def fine_tune(source: Path, target: Path, changes: Mapping[str, float]) -> Path:
    """A copy, float32, whose weights differ by relative changes; its configuration, and so its identity, is another one."""
    shutil.copytree(source, target)
    state = {name: tensor.float() for name, tensor in load_file(source / "model.safetensors").items()}
    generator = torch.Generator().manual_seed(1)
    for layer, change in changes.items():
        weight = state[f"{layer}.weight"]
        noise = torch.randn(weight.shape, generator=generator)
        state[f"{layer}.weight"] = weight + noise * change * weight.norm() / noise.norm()
    save_file(state, target / "model.safetensors", metadata={"format": "pt"})
    tiny_models.edit_config(target, fine_tuned="yes")
    return target


def compare(database: Database, model: str, reference: str) -> Job:
    with database.session() as session:
        return drift.submit_drift(session, model, SubmitDrift(reference=reference))


def measure(database: Database, model: str, *, probe: str = "weight_error", **options: object) -> Job:
    request = SubmitSensitivity(model=model, probe=probe, formats=FORMATS, **options)  # type: ignore[arg-type]
    with database.session() as session:
        return jobs.submit_sensitivity(session, request)


def drift_of(database: Database, model: str, reference: str, **options: object) -> DriftDocument:
    with database.read_session() as session:
        return drift.get_drift(session, model, reference, **options)  # type: ignore[arg-type]


def curves_of(database: Database, model: str, probe: str) -> CurvesDocument:
    with database.read_session() as session:
        return curves.get_curves(session, model, probe=probe)


@pytest.fixture
def pair(database: Database, tmp_path: Path) -> tuple[str, str]:
    """A model, and a fine-tune of it in which one layer moved far, and one by a change that only 8 bits can see."""
    source = tiny_models.tiny_llama(tmp_path / "llama")
    target = fine_tune(source, tmp_path / "tuned", {FAR: 0.2, NEAR: 3e-3})
    return register(database, source), register(database, target)


def test_the_drift_is_that_of_the_weights(database: Database, pair: tuple[str, str]) -> None:
    model, tuned = pair
    job = finished(database, compare(database, tuned, model))
    assert (job.kind, job.state, job.done, job.total) == ("drift", JobState.SUCCEEDED, 3, 3)
    found = drift_of(database, tuned, model)
    assert len(found.items) == 15
    changes = {item.layer: item.change for item in found.items if item.change}
    assert changes == {FAR: pytest.approx(0.2, rel=1e-3), NEAR: pytest.approx(3e-3, rel=1e-3)}
    assert {item.layer for item in found.items if item.moved is None} == {FAR, NEAR}  # nothing is known to judge them by
    assert found.moved_layers is None
    finished(database, measure(database, model, include=["*"]))
    found = drift_of(database, tuned, model)
    assert found.formats == FORMATS
    assert {item.layer: item.moved for item in found.items if item.moved} == {FAR: FORMATS, NEAR: ["INT8_G64"]}
    assert found.moved_layers == 2
    assert all(item.least_rounding_error and 1e-3 < item.least_rounding_error < 1e-2 for item in found.items)
    assert drift_of(database, tuned, model, ratio=1.0).moved_layers == 1
    again = compare(database, tuned, model)
    assert (again.state, again.reason) == (JobState.SUCCEEDED, "these two checkpoints were compared before")


def test_only_what_moved_is_measured_and_the_rest_says_where_it_is_from(database: Database, pair: tuple[str, str]) -> None:
    (model, tuned), calibration = pair, calibrate(database)
    queued = [
        compare(database, tuned, model),
        measure(database, model),
        measure(database, model, probe="fisher", calibration=calibration),
    ]
    work(database)
    assert [finished(database, job).state for job in queued] == [JobState.SUCCEEDED] * 3
    asked = SubmitSensitivity(model=tuned, probe="fisher", formats=FORMATS, calibration=calibration, reuse=model)
    with database.read_session() as session:
        told = job_previews.forecast_sensitivity(session, asked)
    assert (told.layers, told.cells) == (2, 3), "what would be taken over counts as there"
    job = finished(database, measure(database, tuned, probe="fisher", calibration=calibration, reuse=model))
    assert job.state is JobState.SUCCEEDED
    assert job.request["layers"] == [NEAR, FAR]
    assert job.request["cells"] == {NEAR: ["INT8_G64"], FAR: FORMATS}
    parents, found = curves_of(database, model, "fisher"), curves_of(database, tuned, "fisher")
    assert found.setting.parameters["reused_from"] == model
    assert found.setting.id != parents.setting.id
    measured = {(cell.layer, cell.format) for cell in found.items if cell.drift is None}
    assert measured == {(NEAR, "INT8_G64"), (FAR, "INT4_G64"), (FAR, "INT8_G64")}
    losses = {(cell.layer, cell.format): (cell.loss, cell.standard_error) for cell in parents.items}
    for cell in found.items:
        if cell.drift is not None:
            assert (cell.loss, cell.standard_error) == losses[cell.layer, cell.format]
            assert cell.drift == (pytest.approx(3e-3, rel=1e-3) if cell.layer == NEAR else 0)
    assert curves_csv(found).splitlines()[0].endswith(",drift")
    with database.read_session() as session:
        settings = curves.list_settings(session, tuned).items
        plain = curves.get_curves(session, tuned, setting=settings[1].id)
        plan = plans.make_plan(session, PlanRequest(model=tuned, budget=BudgetSpec(effective_bits=6)))
    assert settings[0].id == found.setting.id
    assert "reused_from" not in plain.setting.parameters
    assert {(cell.layer, cell.format) for cell in plain.items} == measured
    assert plan.provenance.setting == found.setting.id
    again = measure(database, tuned, probe="fisher", calibration=calibration, reuse=model)
    assert (again.state, again.total) == (JobState.SUCCEEDED, 0)


@ON_SQLITE
def test_what_the_model_itself_has_goes_before_what_is_taken_over(database: Database, pair: tuple[str, str]) -> None:
    model, tuned = pair
    for job in (compare(database, tuned, model), measure(database, model), measure(database, tuned, include=["*.q_proj"])):
        finished(database, job)
    job = measure(database, tuned, reuse=model)
    assert job.request["layers"] == [FAR]
    finished(database, job)
    found = {(cell.layer, cell.format): cell.drift for cell in curves_of(database, tuned, "weight_error").items}
    assert len(found) == 28
    assert {layer for (layer, _), change in found.items() if change is None} == {NEAR, NEAR.replace(".0.", ".1."), FAR}
    finished(database, measure(database, tuned))
    finished(database, measure(database, tuned, reuse=model))
    assert all(cell.drift is None for cell in curves_of(database, tuned, "weight_error").items)


@ON_SQLITE
def test_of_the_same_weights_nothing_is_measured(database: Database, tmp_path: Path) -> None:
    source = tiny_models.tiny_llama(tmp_path / "llama")
    model, same = register(database, source), register(database, fine_tune(source, tmp_path / "same", {}))
    assert model != same
    for job in (compare(database, same, model), measure(database, model)):
        finished(database, job)
    assert drift_of(database, same, model, formats=["INT3_G64"]).moved_layers == 0  # however little is known of a format
    job = measure(database, same, reuse=model)
    assert (job.state, job.total, job.request["layers"]) == (JobState.SUCCEEDED, 0, [])
    found = curves_of(database, same, "weight_error")
    assert {cell.drift for cell in found.items} == {0.0}
    parents = curves_of(database, model, "weight_error")
    assert [cell.loss for cell in found.items] == [cell.loss for cell in parents.items]


@ON_SQLITE
def test_what_cannot_be_reused_is_refused_and_nothing_is_written(database: Database, pair: tuple[str, str]) -> None:
    model, tuned = pair
    with pytest.raises(UnmeasuredError, match="has no cells of probe 'weight_error'"):
        measure(database, tuned, reuse=model)
    finished(database, measure(database, model, include=["*.down_proj", "*.up_proj"]))
    with pytest.raises(UnmeasuredError, match="were not compared"):
        measure(database, tuned, reuse=model)
    with pytest.raises(UnmeasuredError, match="were not compared"):
        drift_of(database, tuned, model)
    finished(database, compare(database, tuned, model))
    with pytest.raises(UnmeasuredError, match="in INT4_G64, INT8_G64 are unknown"):
        measure(database, tuned, reuse=model)
    with pytest.raises(InvalidRequestError, match="leave one of them out"):
        measure(database, tuned, reuse=model, force=True, include=["*.up_proj"])
    with pytest.raises(NotFoundError):
        measure(database, tuned, reuse="nobody")
    with database.read_session() as session, pytest.raises(UnmeasuredError):
        curves.get_curves(session, tuned)
    assert measure(database, tuned, reuse=model, include=["*.up_proj"]).request["layers"] == [FAR]


@ON_SQLITE
def test_models_that_cannot_be_compared_are_refused(database: Database, tmp_path: Path) -> None:
    model = register(database, tiny_models.tiny_llama(tmp_path / "llama"))
    other = register(database, tiny_models.tiny_llama(tmp_path / "other", hidden=128, ffn=192, vocab=320))
    gguf = register(database, tiny_models.tiny_gguf(tmp_path / "tiny.gguf"))
    for reference, words in ((model, "with itself"), (other, "no layer of one name and shape"), (gguf, "no safetensors")):
        with pytest.raises(InvalidRequestError, match=words):
            compare(database, model, reference)


@ON_SQLITE
def test_layers_without_a_counterpart_have_moved(database: Database, tmp_path: Path) -> None:
    model = register(database, tiny_models.tiny_llama(tmp_path / "llama"))
    longer = register(database, tiny_models.tiny_llama(tmp_path / "longer", blocks=3, ffn=192))
    finished(database, compare(database, longer, model))
    finished(database, measure(database, model))
    found = {item.layer: item for item in drift_of(database, longer, model).items}
    for layer in ("model.layers.2.self_attn.q_proj", "model.layers.0.mlp.up_proj"):
        assert (found[layer].change, found[layer].moved) == (None, FORMATS)
    assert found["model.layers.0.self_attn.q_proj"].change is not None
    assert "model.layers.2.self_attn.q_proj" in measure(database, longer, reuse=model).request["layers"]


@ON_SQLITE
def test_files_that_changed_or_are_no_numbers_fail_the_job(database: Database, pair: tuple[str, str], tmp_path: Path) -> None:
    model, tuned = pair
    poisoned = fine_tune(tmp_path / "llama", tmp_path / "poisoned", {FAR: float("nan")})
    job = finished(database, compare(database, register(database, poisoned), model))
    assert (job.state, FAR in str(job.reason)) == (JobState.FAILED, True)
    tiny_models.edit_config(tmp_path / "tuned", fine_tuned="again")
    job = finished(database, compare(database, tuned, model))
    assert (job.state, "register them again" in str(job.reason)) == (JobState.FAILED, True)
    with database.session() as session:
        models.delete_model(session, model)
    with pytest.raises(NotFoundError):
        compare(database, tuned, model)


def test_a_change_of_zeros_has_no_size() -> None:
    assert [relative_change(*pair) for pair in ((0.0, 0.0), (1.0, 0.0), (1.0, 4.0), (np.nan, np.nan))] == [0.0, None, 0.5, None]
