"""CPU time of retargeting a stored plan of 224 layers in 8 formats beside planning; torch stays out of the process."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from planner.schemas.plans import PlanRequest
from planner.schemas.retargeting import RetargetRequest
from planner.services import plans, retargeting
from planner.storage.database import Database
from tests import synthetic
from tests.benchmarks.references import cpu_milliseconds

pytestmark = [pytest.mark.benchmark, pytest.mark.parametrize("database", ["sqlite"], indirect=True)]

MOST_PLANS = 25
"""A retarget reads a stored plan of 224 layers, plans with nothing prepared for its runtime, and explains every change."""


def test_retargeting_beside_planning(database: Database, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    described = synthetic.description(blocks=32, hidden=512)
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting())
        plan = plans.create_plan(session, PlanRequest.model_validate({"model": "toy", "budget": {"effective_bits": 4.25}}))
    assert len(plan.choices) == 224

    def once(bits: float) -> None:
        with database.read_session() as session:
            plans.make_plan(session, PlanRequest.model_validate({"model": "toy", "budget": {"effective_bits": bits}}))

    def retarget(where: Database) -> None:
        with where.read_session() as session:
            retargeting.retarget_plan(session, plan.id, RetargetRequest(runtime="vllm"))

    def afresh() -> None:
        opened = Database(f"sqlite:///{tmp_path / 'bitplan.db'}")  # with nothing remembered
        retarget(opened)
        opened.close()

    budgets = (4.3 + number / 1000 for number in itertools.count())
    planned, _ = cpu_milliseconds(lambda: once(next(budgets)), 20)
    cold, _ = cpu_milliseconds(afresh, 10)
    warm, _ = cpu_milliseconds(lambda: retarget(database), 10)
    with capfd.disabled():
        print(  # noqa: T201
            f"\nplan {planned:.1f} ms; retarget {cold:.1f} ms, ratio {cold / planned:.1f}; "
            f"again {warm:.1f} ms, ratio {warm / planned:.1f}"
        )
    assert cold / planned <= MOST_PLANS
    assert warm <= cold


def test_no_weights_are_touched(database: Database) -> None:
    program = "import sys, planner.services.retargeting; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
