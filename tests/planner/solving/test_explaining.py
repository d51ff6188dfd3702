"""What explains a plan is looked up in tables that all budgets share: the same as counted for one choice."""

import numpy as np
import pytest

import solvers
from planner.budget import Budget, BudgetKind, Footprint
from planner.build import Classes, GroupCurves
from planner.solving import Uniforms, pose_limits, pose_problem, uniform_choice
from planner.solving.caution import proved_alone
from planner.solving.explaining import larger_formats, larger_items
from tests.planner.solving.instances import noisy, tied

CLASSES = tied(2)


def curves(seed: int) -> GroupCurves:
    return noisy(CLASSES, seed)


@pytest.mark.parametrize("seed", range(6))
def test_larger_formats_of_every_choice_are_in_one_table(seed: int) -> None:
    draw, losses = np.random.default_rng(seed), curves(seed)
    problem = pose_problem(CLASSES, losses, CLASSES.largest_bits)
    table = larger_items(problem)
    groups = len(CLASSES.groups)
    for _ in range(20):
        choice = np.array([draw.choice(np.flatnonzero(legal)) for legal in CLASSES.legal], dtype=np.int64)
        assert table[np.arange(groups), choice].tolist() == larger_formats(CLASSES, losses, choice).tolist()
    assert larger_items(problem) is not table
    assert problem.recall("larger items", larger_items) is problem.with_budgets([1]).recall("larger items", larger_items)


def test_of_formats_of_equal_size_the_first_that_helps_is_next() -> None:
    sizes, loss = np.array([[[1, 2, 2, 3]]]), np.array([[4.0, 3.0, 2.0, 1.0]])
    assert larger_items(solvers.Problem(loss, sizes, np.array([3]))).tolist() == [[1, 3, 3, -1]]


@pytest.mark.parametrize("seed", range(3))
def test_one_price_gives_the_numbers_of_a_product_of_tensors(seed: int) -> None:
    losses = curves(seed)
    problem = pose_problem(CLASSES, losses, (CLASSES.smallest_bits + CLASSES.largest_bits) // 2)
    proved = proved_alone(solvers.solve(problem, solvers.Mckp()), losses.standard_error, 0.0, "mckp")
    assert proved.multipliers[0] > 0
    whole = problem.loss + np.tensordot(proved.multipliers, problem.sizes, 1)
    assert np.array_equal(proved.priced(problem, losses.standard_error, 0.0), whole)


def test_uniform_assignments_are_counted_once_for_all_budgets() -> None:
    losses = curves(1)
    uniforms = Uniforms.of(CLASSES, losses)
    for share in np.linspace(0, 1, 12):
        bits = int(CLASSES.smallest_bits + share * (CLASSES.largest_bits - CLASSES.smallest_bits))
        for caution in (0.0, 2.0):
            columns, alone = uniforms.best(bits, caution=caution), uniform_choice(CLASSES, losses, bits, caution=caution)
            assert (columns is None) == (alone is None)
            if columns is not None and alone is not None:
                assert uniforms.choice(columns).tolist() == alone.tolist() == [columns[0]] * len(CLASSES.groups)


def test_limits_are_carried_over_to_groups_with_fewer_formats() -> None:
    legal = CLASSES.legal.copy()
    legal[0, np.flatnonzero(legal[0])[0]] = False
    fewer = Classes(CLASSES.layers, CLASSES.formats, CLASSES.groups, CLASSES.sizes, legal)
    budgets = [Budget(BudgetKind.EFFECTIVE_BITS, 4.5), Budget(BudgetKind.FILE_BYTES, 10**6)]
    footprint = Footprint(10**6, 100, 0)
    carried, anew = pose_limits(budgets, CLASSES, footprint).within(fewer), pose_limits(budgets, fewer, footprint)
    assert [(limit.budget, limit.room) for limit in carried] == [(limit.budget, limit.room) for limit in anew]
    assert carried.budget_bits == anew.budget_bits
    assert [carried.least(limit) for limit in carried] == [anew.least(limit) for limit in anew]
    assert carried.classes is fewer
