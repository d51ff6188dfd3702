"""HiGHS through highspy: the words of scipy's milp, and silence."""

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint
from scipy.optimize import milp as scipy_milp
from scipy.sparse import csr_array

from solvers.highs import MilpResult, milp
from tests.benchmarks.references import highs
from tests.solvers.instances import curves


def knapsack(budget: float, **options: float) -> MilpResult:
    rows = [LinearConstraint(np.array([[3.0, 5.0, 7.0]]), ub=budget), LinearConstraint(csr_array(np.eye(3)), ub=np.ones(3))]
    return milp(np.array([-3.0, -4.0, -6.0]), integrality=np.ones(3), bounds=Bounds(0, 1), constraints=rows, options=options)


def test_an_optimum() -> None:
    result = knapsack(10.0)
    assert result.x is not None
    assert (result.status, result.x.tolist()) == (0, [1.0, 0.0, 1.0])
    assert result.mip_dual_bound == pytest.approx(-9.0)


def test_what_cannot_be_kept_is_infeasible() -> None:
    result = knapsack(-1.0)
    assert (result.status, result.x) == (2, None)


@pytest.mark.parametrize("options", [{"time_limit": 0.0}, {"node_limit": 0}])
def test_a_limit_is_no_optimum(options: dict[str, float]) -> None:
    problem = curves(120, 24, seed=0)
    cells = problem.loss.size
    one_each = csr_array((np.ones(cells), (np.repeat(np.arange(120), 24), np.arange(cells))))
    rows = [
        LinearConstraint(one_each, 1, 1),
        LinearConstraint(problem.sizes[0].ravel()[None, :] / 100, ub=problem.budgets[0] / 100),
    ]
    result = milp(
        problem.loss.ravel() * 1e4,
        integrality=np.ones(cells),
        bounds=Bounds(0, 1),
        constraints=rows,
        options={"mip_rel_gap": 0.0} | options,
    )
    assert result.status == 1


@pytest.mark.parametrize("seed", range(20))
def test_mixed_programs_agree_with_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [LinearConstraint(csr_array(rng.normal(size=(4, 8))), rng.normal(-3, 1, 4), rng.normal(3, 1, 4))]
    whole, cost, bounds = rng.integers(0, 2, 8), rng.normal(size=8), Bounds(np.full(8, -2.0), np.full(8, 3.0))
    ours = milp(cost, integrality=whole, bounds=bounds, constraints=rows, options={"mip_rel_gap": 0.0})
    theirs = scipy_milp(cost, integrality=whole, bounds=bounds, constraints=rows, options={"mip_rel_gap": 0.0})
    assert ours.status == theirs.status
    if theirs.x is not None:
        assert ours.x is not None
        assert cost @ ours.x == pytest.approx(theirs.fun, abs=1e-7)
        assert (np.abs(ours.x[whole > 0] - np.rint(ours.x[whole > 0])) < 1e-6).all()


def test_nothing_is_written_to_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    """A problem on which scipy's HiGHS writes a line; ours has nothing to say."""
    problem = curves(400, 8, seed=0)
    cells = problem.loss.size
    one_each = csr_array((np.ones(cells), (np.repeat(np.arange(400), 8), np.arange(cells))))
    rows = [
        LinearConstraint(one_each, 1, 1),
        LinearConstraint(problem.sizes[0].ravel()[None, :] / 100, ub=problem.budgets[0] / 100),
    ]
    scale = 1e4 / problem.loss.min(axis=1).sum()
    options = {"mip_rel_gap": 1e-9}
    result = milp(
        problem.loss.ravel() * scale, integrality=np.ones(cells), bounds=Bounds(0, 1), constraints=rows, options=options
    )
    assert result.status == 0
    assert result.mip_dual_bound / scale == pytest.approx(highs(problem).loss, rel=1e-6)
    assert capfd.readouterr().out == ""
