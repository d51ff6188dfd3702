"""How long a job will compute, by what the last one like it took."""

from typing import Any

import pytest
from sqlalchemy import update

from planner.jobs.job import JobState
from planner.schemas.jobs import Job, SubmitSensitivity
from planner.services import jobs
from planner.services.job_forecasts import forecast_seconds
from planner.storage.database import Database
from planner.storage.tables import JobRow, utc_now
from tests import synthetic

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def submit(database: Database, **changes: Any) -> Job:
    asked = {"model": "toy", "probe": "weight_error", "formats": ["INT4_G64"], "include": ["*q_proj"]} | changes
    with database.session() as session:
        return jobs.submit_sensitivity(session, SubmitSensitivity.model_validate(asked))


def end(database: Database, job: Job, **facts: Any) -> None:
    ended = {"state": JobState.SUCCEEDED.value, "finished_at": utc_now(), "unit_seconds": 6.0} | facts
    with database.session() as session:
        session.execute(update(JobRow).where(JobRow.id == job.id).values(ended))


def test_a_forecast_is_in_proportion_to_the_cells_of_the_last_job_like_it(database: Database) -> None:
    with database.session() as session:
        synthetic.add_model(session, synthetic.description())
    first = submit(database)
    assert first.forecast_seconds is None
    end(database, first)
    assert submit(database, formats=["INT8_G64"]).forecast_seconds == pytest.approx(6.0)
    assert submit(database, formats=["INT3_G64", "INT5_G64"]).forecast_seconds == pytest.approx(12.0)


@pytest.mark.parametrize("facts", [{"state": "failed"}, {"failed": 1}, {"unit_seconds": 0.0}])
def test_jobs_that_say_nothing_of_time_are_no_measure(database: Database, facts: dict[str, Any]) -> None:
    with database.session() as session:
        synthetic.add_model(session, synthetic.description())
    end(database, submit(database), **facts)
    assert submit(database, formats=["INT8_G64"]).forecast_seconds is None


def test_a_job_that_is_deleted_meanwhile_is_no_measure(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with database.session() as session:
        synthetic.add_model(session, synthetic.description())
    job = submit(database)
    end(database, job)
    with database.read_session() as session:
        payload = session.get_one(JobRow, job.id).payload
        assert forecast_seconds(session, job.kind, job.model, payload) == pytest.approx(6.0)
        monkeypatch.setattr(session, "scalar", lambda _query: None)
        assert forecast_seconds(session, job.kind, job.model, payload) is None
