"""The main job on tiny checkpoints with the real handlers: measured, planned, evaluated, exported; and each way it can fail."""

from pathlib import Path

import pytest
from sqlalchemy import func, select
from transformers import PreTrainedTokenizerFast

from planner.jobs.job import JobState
from planner.schemas.calibrations import CreateCalibration
from planner.schemas.jobs import Job, SubmitSensitivity
from planner.schemas.plans import BudgetSpec, EvaluateRequest, PlanRequest
from planner.services import calibrations, curves, evaluations, exporting, jobs, models, plans
from planner.settings import Settings
from planner.storage.database import Database
from planner.storage.tables import CellRow, EvaluationRow
from planner.worker.process import make_worker
from sensitivity.formats.registry import get_format
from sensitivity.probe_facts import get_facts
from sensitivity.probes.registry import probes
from tests import tiny_models

FORMATS = ["INT2_G64", "INT4_G64", "INT8_G64"]
TEXT = " ".join(f"The {n}th sentence says that {n} and {n * n} are numbers." for n in range(400))


def work(database: Database) -> None:
    """Do all queued jobs in this process."""
    make_worker(database, Settings(lease_seconds=30, torch_threads=1), poll_seconds=0.05).run(until_idle=True)


def register(database: Database, source: Path) -> str:
    described = models.inspect(str(source))
    with database.session() as session:
        return models.register(session, described)[0].id


def calibrate(database: Database, text: str = TEXT, *, sequences: int = 10, length: int = 32) -> str:
    request = CreateCalibration(
        text=text, sequences=sequences, sequence_length=length, held_out_sequences=5, held_out_length=48, seed=3
    )
    prepared = calibrations.prepare(request)
    with database.session() as session:
        return calibrations.create(session, prepared)[0].id


def submit(database: Database, model: str, calibration: str | None, *, probe: str = "fisher", **options: object) -> Job:
    request = SubmitSensitivity(model=model, probe=probe, formats=FORMATS, calibration=calibration, **options)  # type: ignore[arg-type]
    with database.session() as session:
        return jobs.submit_sensitivity(session, request)


def finished(database: Database, job: Job) -> Job:
    work(database)
    with database.read_session() as session:
        return jobs.get_job(session, job.id)


def count(database: Database, table: type[CellRow] | type[EvaluationRow]) -> int:
    with database.read_session() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_measured_planned_evaluated_exported(database: Database, tmp_path: Path) -> None:
    tiny_models.tiny_llama(tmp_path / "llama")
    model, calibration = register(database, tmp_path / "llama"), calibrate(database)
    job = finished(database, submit(database, model, calibration))
    assert (job.state, job.done, job.total) == (JobState.SUCCEEDED, 2, 2)
    with database.read_session() as session:
        measured = curves.get_curves(session, model, probe="fisher")
    assert len(measured.items) == 14 * len(FORMATS)
    assert all(cell.loss is not None and cell.loss > 0 and cell.standard_error is not None for cell in measured.items)
    with database.session() as session:
        plan = plans.create_plan(session, PlanRequest(model=model, budget=BudgetSpec(effective_bits=4.3)))
        queued = evaluations.submit_evaluation(session, plan.id, EvaluateRequest())
    assert plan.size.effective_bits <= 4.3
    assert plan.proof.lower_bound <= plan.predicted.loss
    assert finished(database, queued).state is JobState.SUCCEEDED
    with database.read_session() as session:
        found = evaluations.list_evaluations(session, plan.id).items
        exported = exporting.export_plan(session, plan.id, "compressed-tensors")
    assert [item.label for item in found] == ["plan", "uniform INT4_G64"]
    assert all(item.sequences == 5 and item.kl.value > 0 and item.kl.standard_error for item in found)
    assert found[0].size_bits == plan.size.layer_bits
    assert exported["quantization_config"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_only_what_is_missing_is_measured(database: Database, tmp_path: Path) -> None:
    tiny_models.tiny_llama(tmp_path / "llama")
    model, calibration = register(database, tmp_path / "llama"), calibrate(database)
    assert finished(database, submit(database, model, calibration)).state is JobState.SUCCEEDED
    again = submit(database, model, calibration)
    assert (again.state, again.total) == (JobState.SUCCEEDED, 0)
    request = SubmitSensitivity(model=model, formats=[*FORMATS, "INT3_G64"], calibration=calibration)
    with database.session() as session:
        more = jobs.submit_sensitivity(session, request)
    assert more.request["formats"] == ["INT3_G64"]
    assert finished(database, more).state is JobState.SUCCEEDED
    assert count(database, CellRow) == 14 * 4


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_every_probe_gives_a_plan(database: Database, tmp_path: Path) -> None:
    tiny_models.tiny_llama(tmp_path / "llama")
    model, calibration = register(database, tmp_path / "llama"), calibrate(database)
    for probe in probes():
        facts = get_facts(probe)
        if not facts.prices_weights:
            continue
        job = submit(database, model, calibration if facts.needs_calibration else None, probe=probe)
        assert finished(database, job).state is JobState.SUCCEEDED, probe
        with database.session() as session:
            plan = plans.create_plan(session, PlanRequest(model=model, probe=probe, budget=BudgetSpec(effective_bits=4.3)))
        assert plan.predicted.probe == probe
        assert plan.predicted.unit == ("nats/token" if facts.in_nats else "relative")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_mixture_is_measured_expert_by_expert(database: Database, tmp_path: Path) -> None:
    tiny_models.tiny_mixtral(tmp_path / "mixtral")
    model, calibration = register(database, tmp_path / "mixtral"), calibrate(database)
    assert finished(database, submit(database, model, calibration)).state is JobState.SUCCEEDED
    with database.session() as session:
        plan = plans.create_plan(session, PlanRequest(model=model, runtime="vllm", budget=BudgetSpec(effective_bits=6)))
    experts = {choice.format for choice in plan.choices if ".experts." in choice.layer and choice.block == 0}
    assert len(experts) == 1


def test_nan_weights_fail_the_job_with_the_tensors_name_and_write_nothing(database: Database, tmp_path: Path) -> None:
    tiny_models.tiny_llama(tmp_path / "llama")
    tiny_models.poison(tmp_path / "llama" / "model.safetensors", "model.layers.1.mlp.up_proj.weight")
    model, calibration = register(database, tmp_path / "llama"), calibrate(database)
    job = finished(database, submit(database, model, calibration))
    assert job.state is JobState.FAILED
    assert "model.layers.1.mlp.up_proj" in str(job.reason)
    assert count(database, CellRow) == 0


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_model_that_changed_on_disk_is_refused(database: Database, tmp_path: Path) -> None:
    tiny_models.tiny_llama(tmp_path / "llama")
    model, calibration = register(database, tmp_path / "llama"), calibrate(database)
    tiny_models.tiny_llama(tmp_path / "other", seed=1)
    (tmp_path / "other" / "model.safetensors").replace(tmp_path / "llama" / "model.safetensors")
    job = finished(database, submit(database, model, calibration))
    assert job.state is JobState.FAILED
    assert "register them again" in str(job.reason)
    assert count(database, CellRow) == 0


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_text_with_too_few_tokens_fails_the_job_with_the_numbers(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long enough in bytes for the service, too short once the tokenizer has seen it."""
    tiny_models.tiny_llama(tmp_path / "llama")
    model, calibration = register(database, tmp_path / "llama"), calibrate(database, TEXT[:600])

    def every_other(_self: object, text: str, *, add_special_tokens: bool, **_options: object) -> list[int]:
        assert not add_special_tokens
        return list(text.encode()[::2])

    monkeypatch.setattr(PreTrainedTokenizerFast, "encode", every_other)
    job = finished(database, submit(database, model, calibration))
    assert job.state is JobState.FAILED
    assert "the text has 300 tokens, but 560 are needed" in str(job.reason)
    assert "longer text" in str(job.reason)
    assert count(database, CellRow) == 0


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_uniform_plan_is_measured_as_the_handler_was_told(database: Database, tmp_path: Path) -> None:
    """Storing a bfloat16 model in BF16 changes nothing: KL 0, agreement 1."""
    tiny_models.tiny_llama(tmp_path / "llama")
    model, calibration = register(database, tmp_path / "llama"), calibrate(database)
    assert finished(database, submit(database, model, calibration)).state is JobState.SUCCEEDED
    request = PlanRequest(model=model, formats=[get_format("BF16").name], budget=BudgetSpec(effective_bits=16))
    with database.session() as session:
        plan = plans.create_plan(session, request)
        queued = evaluations.submit_evaluation(session, plan.id, EvaluateRequest(baselines=[]))
    assert plan.predicted.loss == 0
    finished(database, queued)
    with database.read_session() as session:
        (found,) = evaluations.list_evaluations(session, plan.id).items
    assert found.kl.value == 0
    assert found.top1_agreement.value == 1
