"""What measurements cost, told on a model's page: of jobs around plans of many layers too, in as many statements as of one."""

from typing import Any

import numpy as np
import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from planner.cells import Cell
from planner.jobs.job import JobState
from planner.measuring import setting_of
from planner.services.model_overviews import measuring_costs
from planner.storage.cells import store_cells
from planner.storage.database import Database
from planner.storage.operating_points import store_point
from planner.storage.tables import JobRow, utc_now
from sensitivity.formats.registry import get_format
from sensitivity.statistics import CellStatus, observe
from tests import synthetic

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def payload(fmt: str) -> dict[str, Any]:
    around = {f"model.layers.{number}.mlp.down_proj": fmt for number in range(300)}
    return {
        "probe": "marginal",
        "probe_parameters": {},
        "rounding": "rtn",
        "seed": 0,
        "calibration_id": None,
        "layers": list(around),
        "formats": [fmt],
        "around": around,
    }


def add_job(session: Session, model: str, number: int) -> str:
    """A job around a plan of its own, which took ``10 + number`` seconds; the id of its setting."""
    told = payload(f"INT{number + 2}_G64")
    job = JobRow(id=f"job{number}", kind="sensitivity", model_id=model, payload=told, state=JobState.SUCCEEDED.value)
    job.unit_seconds, job.finished_at = 10.0 + number, utc_now()
    session.add(job)
    session.flush()
    setting = setting_of(told)
    fmt = get_format(told["formats"][0])
    cell = Cell(synthetic.description().layers[0].name, fmt.name, fmt.identity, CellStatus.MEASURED, 0.5, 0.1, 2.0, 1.0, 0.6)
    store_cells(session, model, setting, [cell], job_id=job.id)
    store_point(session, model, setting.id, told["around"], observe(np.array([0.1, 0.2])), job_id=job.id)
    return setting.id


def test_costs_around_plans_are_found_without_reading_the_plans(database: Database) -> None:
    with database.session() as session:
        model = synthetic.add_model(session)
        settings = [add_job(session, model, number) for number in range(5)]
    said: list[str] = []
    event.listen(database.reading, "before_cursor_execute", lambda *given: said.append(given[2]))
    with database.read_session() as session:
        found = measuring_costs(session, model)
    assert {setting: (cost.seconds, cost.jobs) for setting, cost in found.items()} == {
        setting: (10.0 + number, 1) for number, setting in enumerate(settings)
    }
    asked = [text for text in said if "SELECT" in text]
    assert len(asked) == 2
    assert not any("payload" in text or "operating_points.layers" in text for text in asked)
