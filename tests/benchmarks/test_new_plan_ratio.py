"""CPU time of a plan that nobody asked for before, beside that of posing and solving its knapsack anew, in one run."""

import gc
import itertools
import random

import numpy as np
import pytest

import solvers
from planner.schemas.plans import PlanRequest
from planner.services.asking import ask
from planner.services.plans import make_plan
from planner.services.preparing import Moment, prepare
from planner.storage.database import Database
from solvers.mckp import core
from tests import synthetic
from tests.benchmarks.references import cpu_milliseconds

pytestmark = [pytest.mark.benchmark, pytest.mark.parametrize("database", ["sqlite"], indirect=True)]

PLANS, REPEATS = 60, 5
MOST_OF_A_SOLVE = 2.5
MOST_OF_SINGLE_MOVES = 1.1
"""Time of the search by bundles in times of the one move by move."""


def test_a_new_plan_beside_its_knapsack(
    database: Database, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    described = synthetic.description(blocks=32, hidden=256)
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting())
    draw = random.Random(0)
    budgets = (round(draw.uniform(3.0, 7.5), 9) for _ in itertools.count())
    with database.read_session() as session:
        moment = Moment()

        def request() -> PlanRequest:
            return PlanRequest.model_validate({"model": "toy", "budget": {"effective_bits": next(budgets)}})

        def plans() -> None:
            for _ in range(PLANS):
                make_plan(session, request(), moment)

        asked = [ask(session, prepare(session, one, moment), one) for one in (request() for _ in range(PLANS))]
        posed = [(one.whole.curves.loss, one.whole.classes.sizes[None], np.array([one.limits.budget_bits])) for one in asked]

        def solved() -> list[solvers.Solution]:
            return [solvers.solve(solvers.Problem(*one), solvers.Mckp()) for one in posed]

        plans()
        gc.collect()
        plan, _ = cpu_milliseconds(plans, REPEATS)
        alone, bundled = cpu_milliseconds(solved, REPEATS)
        monkeypatch.setattr(core, "LONGEST", 1)
        move_by_move, single = cpu_milliseconds(solved, REPEATS)
    states = [sum(one.stats.states for one in found) for found in (bundled, single)]
    with capfd.disabled():
        print(  # noqa: T201
            f"\n224 x 8: a new plan {plan / PLANS:.2f} ms, posing and solving alone {alone / PLANS:.2f} ms, "
            f"ratio {plan / alone:.2f}; "
            f"move by move {move_by_move / PLANS:.2f} ms, states {states[0]:,} and {states[1]:,}"
        )
    assert [one.choice.tolist() for one in bundled] == [one.choice.tolist() for one in single]
    assert plan / alone <= MOST_OF_A_SOLVE
    assert states[0] < states[1]
    assert alone / move_by_move <= MOST_OF_SINGLE_MOVES
