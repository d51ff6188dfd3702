"""Solving a planning problem: limits in the user's unit, and what the answer explains."""

import numpy as np
import pytest

import solvers
from planner.budget import Budget, BudgetKind, Footprint
from planner.build import Classes, GroupCurves, build_classes
from planner.errors import BudgetAboveCeilingError, BudgetBelowFloorError
from planner.rules import Rules
from planner.runtimes import get_runtime
from planner.solving import check_ceiling, check_floor, solve_plan, uniform_choice
from tests.planner.strategies import ladder, llama_layers

LAYERS = llama_layers(2)
CLASSES = build_classes(LAYERS, ladder(), get_runtime("generic"), Rules())
WEIGHTS = sum(layer.parameters for layer in LAYERS)
FOOTPRINT = Footprint(WEIGHTS, fixed_bytes=1000, kv_elements_per_token=64)


def curves(classes: Classes = CLASSES, *, error: float = 0.0) -> GroupCurves:
    rng = np.random.default_rng(1)
    bits = np.array([fmt.num_bits for fmt in classes.formats])
    loss = rng.lognormal(size=(len(classes.groups), 1)) * 4.0**-bits
    return GroupCurves(loss, error * loss, ())


def test_below_the_floor_names_the_least_feasible_budget_in_its_own_unit() -> None:
    with pytest.raises(BudgetBelowFloorError, match=r"least feasible is 2.25 effective bits") as error:
        check_floor(CLASSES, Budget(BudgetKind.EFFECTIVE_BITS, 2.0), FOOTPRINT)
    assert error.value.fields["smallest_feasible"] == 2.25
    assert error.value.fields["smallest_feasible_bytes"] == 1000 + CLASSES.smallest_bits // 8
    budget = Budget(BudgetKind.RESIDENT_BYTES, 10, context=100)
    with pytest.raises(BudgetBelowFloorError) as error:
        check_floor(CLASSES, budget, FOOTPRINT)
    least = error.value.fields["smallest_feasible_bytes"]
    assert least == 1000 + 64 * 100 * 2 + CLASSES.smallest_bits // 8
    assert isinstance(least, int)
    check_floor(CLASSES, Budget(BudgetKind.RESIDENT_BYTES, least, context=100), FOOTPRINT)


def test_above_the_ceiling_names_the_largest_useful_budget() -> None:
    with pytest.raises(BudgetAboveCeilingError, match=r"8.25 effective bits.*allow_slack"):
        check_ceiling(CLASSES, Budget(BudgetKind.EFFECTIVE_BITS, 20), FOOTPRINT)
    check_ceiling(CLASSES, Budget(BudgetKind.EFFECTIVE_BITS, 8.25), FOOTPRINT)


@pytest.mark.parametrize("bits", [2.25, 3.1, 4.25, 5.9, 8.25])
def test_the_plan_keeps_the_budget_and_beats_uniform(bits: float) -> None:
    budget = Budget(BudgetKind.EFFECTIVE_BITS, bits).layer_bits(FOOTPRINT)
    solved = solve_plan(CLASSES, curves(), budget, deadline=5.0)
    solution = solved.proved
    assert solution.status is solvers.Status.OPTIMAL
    assert solved.size_bits <= budget
    assert solution.lower_bound <= solution.loss
    uniform = uniform_choice(CLASSES, curves(), budget)
    assert uniform is not None
    assert len(set(uniform.tolist())) == 1
    assert solution.loss <= curves().loss[np.arange(len(uniform)), uniform].sum() * (1 + 1e-12)


def test_next_up_is_the_smallest_larger_format_that_helps() -> None:
    budget = Budget(BudgetKind.EFFECTIVE_BITS, 4.25).layer_bits(FOOTPRINT)
    solved = solve_plan(CLASSES, curves(), budget, deadline=None)
    expected = [k + 1 if k + 1 < len(ladder()) else -1 for k in solved.proved.choice]
    assert solved.next_up.tolist() == expected


def test_without_errors_nothing_is_fragile_and_with_huge_ones_all_is() -> None:
    budget = Budget(BudgetKind.EFFECTIVE_BITS, 4.25).layer_bits(FOOTPRINT)
    sure = solve_plan(CLASSES, curves(), budget, deadline=None)
    assert sure.fragile.sum() <= 1  # at the price of a bit, only the class where the budget breaks has a tie
    vague = solve_plan(CLASSES, curves(error=10.0), budget, deadline=None)
    assert vague.fragile.all()
    chosen = np.arange(len(CLASSES.groups)), vague.proved.choice
    assert vague.proved.standard_error == pytest.approx(float(np.sqrt((curves(error=10.0).standard_error[chosen] ** 2).sum())))


def test_a_model_without_planned_layers_has_an_empty_plan() -> None:
    empty = build_classes((), ladder(), get_runtime("generic"), Rules())
    solved = solve_plan(empty, GroupCurves(np.zeros((0, 5)), np.zeros((0, 5)), ()), 0, deadline=None)
    assert solved.proved.loss == 0
    assert uniform_choice(empty, GroupCurves(np.zeros((0, 5)), np.zeros((0, 5)), ()), 0) is None
