"""Every rule against its own sentence: the rows say it completely, the bound that they give holds, misuse is refused."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from solvers import BruteForce, Mckp, NoAllowedItemError, Problem, ProblemError, Status, solve
from solvers.arrays import Integers
from solvers.pins import pinned
from solvers.relaxation import relax, rule_rows
from solvers.side_rules import AbstractSideRule, ContiguousRule, CountRule, DistanceRule, ImplicationRule, LinearRow
from tests.solvers.ilp.programs import some_rules

MASK = np.array([[True, False, True], [False, False, True], [True, True, False], [False, False, False]])


def choices_of(classes: int, items: int) -> Integers:
    return np.array(list(itertools.product(range(items), repeat=classes)), dtype=np.int64)


def row_value(row: LinearRow, choice: Integers) -> int:
    classes = range(len(choice)) if row.classes is None else row.classes.tolist()
    return sum(int(row.coefficients[t, choice[i]]) for t, i in enumerate(classes))


def helpers_exist(rows: list[LinearRow], choice: Integers) -> bool:
    count = max((0 if row.helpers is None else row.helpers.shape[0] for row in rows), default=0)
    for helpers in itertools.product((0, 1), repeat=count):
        own = [0 if row.helpers is None else int(row.helpers @ np.array(helpers)) for row in rows]
        if all(row_value(row, choice) + mine <= row.bound for row, mine in zip(rows, own, strict=True)):
            return True
    return False


@pytest.mark.parametrize("seed", range(40))
def test_rows_say_the_rule_completely(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 5)), int(rng.integers(1, 4)))
    for rule in some_rules(rng, shape):
        rule.check(*shape)
        rows = rule.rows(*shape)
        for choice in choices_of(*shape):
            assert helpers_exist(rows, choice) == (rule.broken_by(choice) is None), (rule, choice)


def test_count_rule_counts() -> None:
    rule = CountRule(MASK, at_most=2, at_least=1)
    assert rule.broken_by(np.array([0, 2, 2, 0])) is None
    assert rule.broken_by(np.array([0, 2, 0, 0])) == "3 classes take marked items, more than 2"
    assert rule.broken_by(np.array([1, 0, 2, 0])) == "0 classes take marked items, fewer than 1"


def test_implication_names_both_items() -> None:
    rule = ImplicationRule(0, (1,), 2, (0, 2))
    assert rule.broken_by(np.array([1, 0, 1, 0])) == "class 0 takes item 1, so that class 2 must take one of [0, 2]; it takes 1"
    assert rule.broken_by(np.array([0, 0, 1, 0])) is None


def test_contiguous_rule_says_where_the_second_run_begins() -> None:
    rule = ContiguousRule((3, 0, 1, 2), MASK)
    assert rule.broken_by(np.array([0, 0, 0, 0])) == ("the classes with marked items make 2 runs; the second begins at class 2")
    assert rule.broken_by(np.array([0, 2, 2, 0])) is None
    assert ContiguousRule((), MASK).broken_by(np.array([0, 2, 0, 0])) is None


def test_distance_rule_counts_the_classes_that_differ() -> None:
    rule = DistanceRule(np.array([0, 1, 2]), 2)
    assert rule.broken_by(np.array([0, 0, 0])) is None
    assert "differs in 1 classes" in str(rule.broken_by(np.array([0, 1, 0])))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=9))
def test_property_rows_of_a_run_are_its_convex_hull(values: list[int]) -> None:
    """The relaxation of the rows is whole: its optimum over any losses is that of the best run."""
    count = len(values)
    mask = np.zeros((count, 2), dtype=bool)
    mask[:, 1] = True
    rows = ContiguousRule(tuple(range(count)), mask).rows(count, 2)
    table = np.zeros((len(rows), 2 * count))
    for r, row in enumerate(rows):
        assert row.classes is not None
        assert row.helpers is not None
        table[r, row.classes] = row.coefficients[:, 1]
        table[r, count:] = row.helpers
    losses = np.append(np.array(values, dtype=float), np.zeros(count))
    relaxed = linprog(losses, A_ub=table, b_ub=[row.bound for row in rows], bounds=(0, 1)).fun
    best = min([0, *(sum(values[start:end]) for start in range(count) for end in range(start + 1, count + 1))])
    assert relaxed == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("seed", range(30))
def test_any_multipliers_bound_every_choice_that_keeps_the_rules(seed: int) -> None:
    rng = np.random.default_rng([7, seed])
    shape = (4, 3)
    rules = some_rules(rng, shape)
    problem = Problem(rng.normal(size=shape), np.ones((1, *shape), dtype=np.int64), np.array([9]), rules)
    prices = rng.exponential(size=len(rule_rows(problem))) * (rng.random(len(rule_rows(problem))) < 0.6)
    relaxation = relax(problem, prices)
    for choice in choices_of(*shape):
        if all(rule.broken_by(choice) is None for rule in rules):
            below = relaxation.constant + relaxation.loss[np.arange(4), choice].sum()
            assert below <= problem.loss[np.arange(4), choice].sum() + 1e-12


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda: CountRule(MASK), "without a limit"),
        (lambda: CountRule(MASK[:2], at_most=1), r"shape \(2, 3\); the problem has \(4, 3\)"),
        (lambda: CountRule(MASK.astype(int), at_most=1), "True in a table"),
        (lambda: CountRule(MASK[0], at_most=1), "True in a table"),
        (lambda: ImplicationRule(0, (0,), 4, (1,)), "names class 4; the problem has 4"),
        (lambda: ImplicationRule(0, (3,), 1, (1,)), "names item 3"),
        (lambda: ImplicationRule(-1, (0,), 1, (1,)), "names class -1"),
        (lambda: ContiguousRule((0, 4), MASK), "names class 4"),
        (lambda: ContiguousRule((0, 1, 0), MASK), "names a class twice"),
        (lambda: ContiguousRule((0, 1), MASK[:, :2]), "shape"),
        (lambda: DistanceRule(np.array([0, 1]), 1), "2 classes and the problem 4"),
        (lambda: DistanceRule(np.array([0, 1, 2, 3]), 1), "names item 3"),
        (lambda: DistanceRule(np.array([0.0, 1.0, 2.0, 0.0]), 1), "one whole number a class"),
    ],
)
def test_what_does_not_fit_is_refused(rule: type[AbstractSideRule], message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        Problem(np.zeros((4, 3)), np.ones((1, 4, 3), dtype=np.int64), np.array([9]), (rule(),))


def test_masks_and_choices_are_private() -> None:
    mask, choice = MASK.copy(), np.array([0, 1])
    count, distance = CountRule(mask, at_most=1), DistanceRule(choice)
    mask[:], choice[:] = False, 0
    assert count.mask.any()
    assert distance.choice.tolist() == [0, 1]


def test_rules_without_a_class_are_kept_or_infeasible() -> None:
    empty = np.zeros((0, 2), dtype=bool)
    loss, sizes = np.zeros((0, 2)), np.zeros((1, 0, 2), dtype=np.int64)
    kept = Problem(loss, sizes, np.array([0]), (CountRule(empty, at_most=0), ContiguousRule((), empty)))
    broken = Problem(loss, sizes, np.array([0]), (CountRule(empty, at_least=1),))
    assert solve(kept, BruteForce()).status is Status.OPTIMAL
    assert solve(broken, BruteForce()).status is Status.INFEASIBLE


def test_pins_hold_for_every_solver() -> None:
    problem = Problem(np.array([[3.0, 1.0, 0.0]] * 2), np.array([[[1, 2, 3]] * 2]), np.array([5]))
    held = pinned(problem, {0: [0, 1]})
    assert solve(held, Mckp()).choice.tolist() == solve(held, BruteForce()).choice.tolist() == [1, 2]
    assert pinned(problem, {}).loss.tolist() == problem.loss.tolist()


def test_pins_that_leave_nothing_are_refused() -> None:
    problem = Problem(np.array([[3.0, np.inf]]), np.array([[[1, 2]]]), np.array([5]))
    nothing: list[dict[int, list[int]]] = [{0: [1]}, {0: []}]
    for pins in nothing:
        with pytest.raises(NoAllowedItemError, match="class 0"):
            pinned(problem, pins)
    for pins in ({1: [0]}, {0: [2]}, {-1: [0]}):
        with pytest.raises(ProblemError, match="cannot be held"):
            pinned(problem, pins)


def test_rules_count_and_name_in_whole_numbers() -> None:
    mask = np.ones((2, 2), dtype=bool)
    with pytest.raises(ProblemError, match=r"whole numbers, not in 1\.5"):
        CountRule(mask, at_most=1.5)  # type: ignore[arg-type]
    with pytest.raises(ProblemError, match=r"whole numbers, not in 1\.5"):
        DistanceRule(np.array([0, 1]), 1.5)  # type: ignore[arg-type]
    with pytest.raises(ProblemError, match=r"whole numbers, not in 0\.5"):
        ImplicationRule(0.5, (0,), 1, (0,)).check(2, 2)  # type: ignore[arg-type]
