"""What the kill test would say of a job that did lose units or recorded them twice."""

from typing import Any

import pytest
from sqlalchemy import update

from planner.jobs.engine import JobState
from planner.storage.database import Database
from planner.storage.tables import JobRow, UnitRow, utc_now
from tests.kill.__main__ import closing_line
from tests.kill.ledger import Record, Watch, read
from tests.kill.outcome import Outcome, judge
from tests.planner.storage.rows import add_model

RESULTS = {"000": b"one", "001": b"two"}
CELLS = {("layer", "INT4_G32"): ("measured", (0.1).hex())}
REFERENCE = Record(RESULTS, CELLS)
DONE: dict[str, Any] = {"state": "succeeded", "failed": 0, "total": 2, "done": 2, "reason": None}


def judged(record: Record = REFERENCE, *, twice: int = 0, **changes: Any) -> Outcome:
    return judge("made up", DONE | changes, record=record, reference=REFERENCE, twice=twice, seconds=1.0, facts="none")


def test_a_job_that_is_like_the_undisturbed_one_is_good() -> None:
    assert judged().is_good
    assert closing_line([judged()], 1.0).startswith("ok: 2 units in 1 scenarios, 0 lost, 0 recorded twice, 0 unequal")


@pytest.mark.parametrize(
    ("outcome", "figures"),
    [
        (judged(Record({"000": b"one"}, CELLS), done=1), (1, 0, 1)),
        (judged(twice=1), (0, 1, 0)),
        (judged(done=3), (0, 1, 0)),
        (judged(Record(RESULTS, {("layer", "INT4_G32"): ("measured", (0.1 + 2**-56).hex())})), (0, 0, 1)),
        (judged(Record(RESULTS, {})), (0, 0, 1)),
        (judged(state="failed", reason="why"), (0, 0, 0)),
        (judged(failed=1), (0, 0, 0)),
        (judged(total=1), (0, 0, 0)),
        (Outcome.failed("made up", "it hangs"), (0, 0, 0)),
    ],
)
def test_a_job_that_is_not_is_short(outcome: Outcome, figures: tuple[int, int, int]) -> None:
    assert (outcome.lost, outcome.twice, outcome.unequal) == figures
    assert not outcome.is_good
    assert closing_line([judged(), outcome], 1.0).startswith("short: made up; ")


def test_a_unit_that_is_recorded_again_is_seen(database: Database) -> None:
    model = add_model(database, layers=1)
    with database.session() as session:
        session.add(JobRow(id="job", kind="sensitivity", model_id=model, payload={}, state=JobState.RUNNING.value))
        session.flush()
        for key in ("000", "001"):
            session.add(UnitRow(job_id="job", key=key, payload={}))
    watch = Watch(database.full_url, "job")
    watch.look()
    for key, twice in (("000", set()), ("001", set()), ("000", {"000"})):
        with database.session() as session:
            session.execute(update(UnitRow).where(UnitRow.key == key).values(result=key.encode(), finished_at=utc_now()))
        watch.look()
        assert watch.twice == twice
    assert read(database.full_url, "job").results == {"000": b"000", "001": b"001"}
