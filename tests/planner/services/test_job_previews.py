"""What a job would be: the same as the job, and nothing of it stays."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select, update

from planner.errors import InvalidRequestError, NotFoundError
from planner.jobs.job import JobState
from planner.jobs.sql_engine import SqlJobEngine
from planner.jobs.workers import WorkerProfile
from planner.measuring import setting_of
from planner.schemas.jobs import Job, JobForecast, SubmitSensitivity
from planner.schemas.plans import BudgetSpec, EvaluateRequest, PlanRequest
from planner.services import evaluations, job_previews, jobs, plans
from planner.storage.database import Database
from planner.storage.tables import CalibrationSetRow, JobRow, utc_now
from sensitivity.memory_forecast import STREAMED_SEQUENCES
from tests import synthetic

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def forecast(database: Database, **asked: Any) -> JobForecast:
    with database.read_session() as session:
        return job_previews.forecast_sensitivity(session, SubmitSensitivity.model_validate({"model": "toy", **asked}))


def count(database: Database, table: type) -> int:
    with database.read_session() as session:
        return session.scalars(select(func.count()).select_from(table)).one()


def register(database: Database) -> None:
    with database.session() as session:
        synthetic.add_model(session)


def test_it_is_what_the_job_is_and_nothing_is_queued(database: Database) -> None:
    register(database)
    asked = {"probe": "weight_error", "formats": ["INT4_G64", "INT8_G64"], "include": ["*q_proj"]}
    told = forecast(database, **asked)
    assert count(database, JobRow) == 0
    with database.session() as session:
        job = jobs.submit_sensitivity(session, SubmitSensitivity.model_validate({"model": "toy", **asked}))
    assert (told.layers, told.formats, told.cells) == (2, ["INT4_G64", "INT8_G64"], 4)
    assert (told.memory_bytes, told.whole_bytes) == (job.memory_bytes, job.request["memory"]["whole_bytes"])
    assert told.streamed_bytes == job.request["memory"]["streamed_bytes"]
    assert (told.seconds, told.waits_for, told.note) == (None, job.waits_for, None)
    assert told.unfinished is None
    assert forecast(database, **asked).unfinished == job.id
    assert count(database, JobRow) == 1


def test_only_what_is_missing_is_forecast(database: Database) -> None:
    register(database)
    asked = SubmitSensitivity(model="toy", probe="weight_error", formats=["INT4_G64"])
    with database.session() as session:
        job = jobs.submit_sensitivity(session, asked)
        synthetic.add_cells(session, synthetic.description(), setting_of(job.request), formats=("INT4_G64",))
        ended = {"state": JobState.SUCCEEDED.value, "finished_at": utc_now(), "unit_seconds": 6.0}
        session.execute(update(JobRow).where(JobRow.id == job.id).values(ended))
    told = forecast(database, probe="weight_error", formats=["INT4_G64", "INT8_G64"])
    assert (told.formats, told.cells) == (["INT8_G64"], 14)
    assert told.seconds == pytest.approx(6.0)
    nothing = forecast(database, probe="weight_error", formats=["INT4_G64"])
    assert (nothing.cells, nothing.layers, nothing.memory_bytes) == (0, 0, None)
    assert nothing.note is not None
    assert "measured already" in nothing.note


def test_without_a_text_the_built_in_one_is_assumed_and_not_kept(database: Database) -> None:
    register(database)
    told = forecast(database, formats=["INT4_G64"])
    assert (told.sequences, told.tokens) == (48, 48 * 256)
    assert count(database, CalibrationSetRow) == 0
    rounded = forecast(database, probe="weight_error", formats=["INT4_G64"], rounding="gptq")
    assert rounded.sequences == 48


def test_a_job_that_another_version_forecast_otherwise_is_the_same_job(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that what was interrupted goes on after an upgrade, without repeating a unit."""
    register(database)
    asked = {"probe": "weight_error", "formats": ["INT4_G64", "INT8_G64"]}

    def submit() -> Job:
        with database.session() as session:
            return jobs.submit_sensitivity(session, SubmitSensitivity.model_validate({"model": "toy", **asked}))

    first = submit()
    monkeypatch.setattr("sensitivity.memory_forecast.totals.PROGRAM_BYTES", 1 << 30)
    told = forecast(database, **asked)
    assert told.whole_bytes != first.request["memory"]["whole_bytes"]
    assert submit().id == told.unfinished == first.id


def test_the_states_of_few_named_cells_are_counted_together(database: Database) -> None:
    """Cells of all blocks go through the model in one pass; their ΔW are fewer than those of all formats."""
    with database.session() as session:
        synthetic.add_model(session)
        text = synthetic.add_calibration(session)
        session.execute(update(CalibrationSetRow).values(sequence_length=1 << 14))
    names = [layer.name for layer in synthetic.description().layers if layer.kind != "lm_head"]
    cells = {name: [f"INT{3 + place % 2}_G64"] for place, name in enumerate(names)}
    asked = {"probe": "kl", "calibration": text}
    few = forecast(database, **asked, cells=dict(list(cells.items())[:4]))
    more = forecast(database, **asked, cells=cells)
    assert few.whole_bytes is not None
    assert more.whole_bytes is not None
    states = (2 * 4 + 2) * (1 << 14) * synthetic.description().layers[0].in_features
    assert more.whole_bytes - few.whole_bytes == pytest.approx(10 * states, rel=0.02)


@pytest.mark.parametrize(
    ("asked", "error"), [({"model": "nobody"}, NotFoundError), ({"probe": "marginal"}, InvalidRequestError)], ids=str
)
def test_what_would_be_refused_is_refused_in_the_same_words(
    database: Database, asked: dict[str, Any], error: type[Exception]
) -> None:
    register(database)
    request = SubmitSensitivity.model_validate({"model": "toy", **asked})
    with pytest.raises(error) as told, database.read_session() as session:
        job_previews.forecast_sensitivity(session, request)
    with pytest.raises(error) as refused, database.session() as session:
        jobs.submit_sensitivity(session, request)
    assert str(told.value) == str(refused.value)


def test_an_evaluation_takes_as_long_as_the_last_one_in_proportion_to_its_passes(database: Database) -> None:
    described = synthetic.description()
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)))
        plan = plans.create_plan(session, PlanRequest(model="toy", budget=BudgetSpec(effective_bits=4.25))).id

    def told(**asked: Any) -> JobForecast:
        with database.read_session() as session:
            return job_previews.forecast_evaluation(session, plan, EvaluateRequest(**asked))

    first = told()
    assert (first.kind, first.layers, first.cells, first.tokens, first.seconds) == ("evaluation", 14, None, 64, None)
    assert first.whole_bytes is not None
    assert first.streamed_bytes == first.memory_bytes
    assert count(database, JobRow) == 0
    with database.session() as session:
        job = evaluations.submit_evaluation(session, plan, EvaluateRequest())
        ended = {"state": JobState.SUCCEEDED.value, "finished_at": utc_now(), "unit_seconds": 6.0}
        session.execute(update(JobRow).where(JobRow.id == job.id).values(ended))
    assert len(job.request["assignments"]) == 2, "the plan and the uniform format"
    assert told().seconds == pytest.approx(6.0)
    assert told(baselines=[]).seconds == pytest.approx(6.0 * 2 / 3), "the reference is run too"
    with database.session() as session:
        assert evaluations.submit_evaluation(session, plan, EvaluateRequest()).forecast_seconds == pytest.approx(6.0)


def test_a_streamed_evaluation_takes_as_many_sequences_at_once_as_its_worker(database: Database) -> None:
    """Which is more than of a model that is held whole, because every unit reads every block."""
    described = synthetic.description()
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)))
        plan = plans.create_plan(session, PlanRequest(model="toy", budget=BudgetSpec(effective_bits=4.25))).id
    told = []
    for sequences in (4, 16, STREAMED_SEQUENCES, 2 * STREAMED_SEQUENCES):
        with database.session() as session:
            session.execute(update(CalibrationSetRow).values(held_out_sequences=sequences, held_out_length=2048))
        with database.read_session() as session:
            told.append(job_previews.forecast_evaluation(session, plan, EvaluateRequest()))
    assert len({one.whole_bytes for one in told}) == 1
    streamed = [one.streamed_bytes or 0 for one in told]
    assert streamed[0] < streamed[1] < streamed[2] == streamed[3]


def test_an_evaluation_is_left_to_workers_with_the_memory_for_it(database: Database) -> None:
    described = synthetic.description()
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)))
        plan = plans.create_plan(session, PlanRequest(model="toy", budget=BudgetSpec(effective_bits=4.25))).id
    with database.read_session() as session:
        told = job_previews.forecast_evaluation(session, plan, EvaluateRequest())
    with database.session() as session:
        job = evaluations.submit_evaluation(session, plan, EvaluateRequest())
    assert job.memory_bytes == told.memory_bytes
    assert job.request["memory"] == {"whole_bytes": told.whole_bytes, "streamed_bytes": told.streamed_bytes}
    engine = SqlJobEngine(database)
    small = WorkerProfile("small", ["evaluation"], memory_bytes=(told.memory_bytes or 0) - 1)
    assert engine.claim(small) is None
    assert engine.claim(replace(small, memory_bytes=told.memory_bytes)) is not None
