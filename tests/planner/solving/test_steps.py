"""Plans from changes around a plan: short steps that are surely better."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import solvers
from planner.curves import Curves, OperatingPoint
from planner.schemas.plans import STEP_ERRORS
from planner.solving.steps import Step
from sensitivity.formats.registry import get_format
from sensitivity.statistics import CellStatus

FORMATS = tuple(get_format(name) for name in ("INT3_G64", "INT4_G64", "INT6_G64"))
BITS = np.array([3, 4, 6])


def curves_around(change: np.ndarray, error: np.ndarray) -> Curves:
    layers = tuple(f"l{i}" for i in range(len(change)))
    return Curves(layers, FORMATS, change, error, np.full(change.shape, CellStatus.MEASURED.value))


def point_at(columns: np.ndarray, loss: float = 0.3) -> OperatingPoint:
    return OperatingPoint({f"l{i}": FORMATS[k].name for i, k in enumerate(columns)}, loss, 0.01)


def best(curves: Curves, budget: int) -> solvers.Solution:
    sizes = np.broadcast_to(BITS, curves.loss.shape)
    return solvers.solve(solvers.Problem(loss=curves.loss, sizes=sizes[None], budgets=np.array([budget])), solvers.Mckp())


def names(solution: solvers.Solution) -> dict[str, str]:
    return {f"l{i}": FORMATS[k].name for i, k in enumerate(solution.choice)}


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 4.0))
def test_the_next_plan_is_never_predicted_worse_and_counts_its_changes(seed: int, errors: float) -> None:
    random = np.random.default_rng(seed)
    here = random.integers(0, 3, 12)
    rows = np.arange(12)
    change, error = random.normal(0, 0.02, (12, 3)), random.uniform(0, 0.02, (12, 3))
    change[rows, here] = error[rows, here] = 0.0
    measured, point = curves_around(change, error), point_at(here)
    solution = best(Step(point, measured, errors).guarded(), int(BITS[here].sum()))
    assert solution.loss <= point.loss + 1e-12
    count, sum_of_changes = Step(point, measured, errors).taken(names(solution))
    assert count == (solution.choice != here).sum()
    moved = solution.choice != here
    guard = errors * error[rows, solution.choice].sum()
    assert solution.loss == pytest.approx(point.loss + sum_of_changes + guard)
    assert sum_of_changes == pytest.approx(change[rows, solution.choice][moved].sum())


def test_luck_alone_moves_few_layers() -> None:
    """With no true gain, a plan from bare changes moves most layers; with two standard errors hardly any."""
    random = np.random.default_rng(0)
    here = np.ones(300, dtype=int)
    error = np.full((300, 3), 0.01)
    true = np.broadcast_to([0.004, 0.0, -0.003], (300, 3))
    change = true + random.normal(0, 0.01, (300, 3))
    change[:, 1], error[:, 1] = 0.0, 0.0
    measured, point = curves_around(change, error), point_at(here)
    bare = best(Step(point, measured, 0.0).guarded(), 1200).choice
    sure = best(Step(point, measured, STEP_ERRORS).guarded(), 1200).choice
    assert (bare != 1).sum() > 100
    assert (sure != 1).sum() < 40


def test_unknown_errors_count_as_none_and_unmeasured_cells_stay_so() -> None:
    change = np.array([[0.1, 0.0, np.nan]])
    measured = Curves(("l0",), FORMATS, change, np.array([[np.nan, 0.0, np.nan]]), np.array([["measured", "measured", ""]]))
    found = Step(point_at(np.array([1])), measured, 2.0).guarded()
    np.testing.assert_allclose(found.loss[0, :2], [0.4, 0.3])
    assert np.isnan(found.loss[0, 2])


def test_an_expert_without_tokens_stays_for_nothing() -> None:
    """What it would cost to leave stays unknown."""
    status = np.array([["no_tokens"] * 3])
    silent = Curves(("l0",), FORMATS, np.full((1, 3), np.nan), np.full((1, 3), np.nan), status)
    found = Step(point_at(np.array([1])), silent, 2.0).guarded()
    assert found.status.tolist() == [["no_tokens", "measured", "no_tokens"]]
    assert found.loss[0, 1] == pytest.approx(0.3)
    assert np.isnan(found.loss[0, [0, 2]]).all()
