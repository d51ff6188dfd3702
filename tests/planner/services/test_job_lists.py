"""Lists of jobs: what they say costs the same few statements whatever is listed, and none of them reads what workers are told."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from planner.jobs.job import JobState
from planner.services import jobs
from planner.storage.database import Database
from planner.storage.tables import JobRow, UnitRow, utc_now
from tests import synthetic

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
LAYERS = [f"model.layers.{number}" for number in range(5_000)]
STATES = (JobState.RUNNING, JobState.RUNNING, JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED, JobState.RUNNING)


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    found: list[str] = []

    def note(*given: Any) -> None:
        found.append(given[2])

    event.listen(database.reading, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(database.reading, "before_cursor_execute", note)


@pytest.fixture
def listed(database: Database) -> list[str]:
    """Jobs, the oldest first, of a large model: each has a failed unit and units that ended a second apart."""
    now = utc_now()
    with database.session() as session:
        model = synthetic.add_model(session)
        for number, state in enumerate(STATES):
            session.add(
                JobRow(
                    id=f"job{number}",
                    kind="sensitivity",
                    model_id=model,
                    payload={"probe": "kl", "layers": LAYERS, "formats": ["INT4_G64"]},
                    state=state.value,
                    total=40,
                    done=25,
                    failed=1,
                    created_at=now + timedelta(seconds=number),
                    started_at=now,
                    finished_at=now + timedelta(seconds=50) if state.is_final else None,
                )
            )
            session.flush()
            ends = [now + timedelta(seconds=(number + 1) * unit) for unit in range(25)]
            for unit, end in enumerate(ends):
                facts = {"key": f"{unit:03}", "payload": {}, "state": "succeeded", "finished_at": end}
                session.add(UnitRow(job_id=f"job{number}", **facts))
            session.add(
                UnitRow(job_id=f"job{number}", key="bad", payload={}, state="failed", reason=f"fault {number}", attempts=3)
            )
    return [f"job{number}" for number in range(len(STATES))]


def test_a_list_says_of_each_job_what_the_job_says_but_its_long_tables(database: Database, listed: list[str]) -> None:
    with database.read_session() as session:
        found = jobs.list_jobs(session).items
        alone = [jobs.get_job(session, job) for job in listed[::-1]]
    assert [job.id for job in found] == listed[::-1]
    for item, whole in zip(found, alone, strict=True):
        assert item.request == {"probe": "kl", "formats": ["INT4_G64"]}
        assert item.left_out == {"layers": len(LAYERS)}
        assert whole.request["layers"] == LAYERS
        assert item == whole.model_copy(update={"request": item.request, "left_out": item.left_out})
        assert [failure.reason for failure in item.failures] == [f"fault {item.id[3:]}"]
    rates = {job.id: job.rate for job in found if job.state is JobState.RUNNING}
    assert rates == {"job0": pytest.approx(1.0), "job1": pytest.approx(0.5), "job5": pytest.approx(1 / 6)}


def test_a_longer_list_takes_no_more_statements_and_none_reads_a_payload(database: Database, listed: list[str]) -> None:
    counted = []
    for limit in (4, 6):
        with statements(database) as run, database.read_session() as session:
            assert len(jobs.list_jobs(session, limit=limit).items) == limit
        assert not [statement for statement in run if "payload" in statement]
        counted.append(len(run))
    assert counted[0] == counted[1]
