"""Many budgets at once, against brute force, the one-line bound and the solver of one budget."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers import BruteForce, Mckp, Problem, SettingError, Status, Uniform, UnsupportedProblemError, solve
from solvers.frontiers import Frontier, breakpoints, even_budgets, frontier, hypervolume, knee, proved
from solvers.frontiers.plans import least_loss, take_in_order
from solvers.hulls.descending import COUNTED_FROM, descending_order
from solvers.hulls.hull import find_hulls, walk_hulls
from solvers.problem import total_loss
from tests.solvers.contract import scale_of
from tests.solvers.instances import LOSSES, SIZES, curves, one_budget, tiny_problem

NO_BUDGET = np.array([0])


def with_budget(problem: Problem, budget: int) -> Problem:
    return Problem(problem.loss, problem.sizes, np.array([budget]))


def sampled_budgets(problem: Problem, count: int = 9) -> list[int]:
    """Inside the range, at its ends and outside, in no order."""
    even = even_budgets(problem, count).tolist()
    low, high = even[0], even[-1]
    return [*even[::-1], max(low - 1, 0), low + 1, high + 5, 2**62, low]


def assert_sound(problem: Problem, found: Frontier) -> None:
    """Totals from the choices, bounds from the multipliers, both by the shortest code there is."""
    rows, scale = np.arange(problem.classes), scale_of(problem)
    assert found.floor == problem.smallest_sizes()[0]
    for j, budget in enumerate(found.budgets.tolist()):
        if budget < found.floor:
            assert not found.feasible[j]
            assert (found.losses[j], found.bounds[j], found.gaps[j]) == (np.inf, np.inf, np.inf)
            assert (found.choices[j] == -1).all()
            continue
        choice, price = found.choice(j), found.multipliers[j]
        assert sum(problem.sizes[0, rows, choice].tolist()) == found.sizes[j] <= budget
        assert found.losses[j] == pytest.approx(problem.loss[rows, choice].sum(), abs=1e-12 * scale)
        priced = np.where(problem.allowed(), problem.loss + price * problem.sizes[0], np.inf)
        slack = 1e-9 * (scale + price * found.sizes[j])
        assert found.bounds[j] == pytest.approx(priced.min(axis=1).sum() - price * budget, abs=slack)
        assert found.bounds[j] <= found.losses[j]
        assert found.gaps[j] >= 0


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("losses", LOSSES)
def test_sound_and_bounded_by_brute_force(losses: str, sizes: str) -> None:
    for seed in range(8):
        problem = tiny_problem(seed, losses=losses, sizes=sizes, forbid=seed % 2 == 0, classes=5)
        found = frontier(problem, sampled_budgets(problem))
        assert_sound(problem, found)
        for j in np.flatnonzero(found.feasible).tolist():
            judge = solve(with_budget(problem, int(found.budgets[j])), BruteForce()).loss
            tolerance = 1e-12 * scale_of(problem)
            assert found.bounds[j] - tolerance <= judge <= found.losses[j] + tolerance


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_property_sound_monotone_and_bounded(data: st.DataObject) -> None:
    items = data.draw(st.integers(1, 5))
    cell = st.tuples(st.integers(-4, 4) | st.just(np.inf), st.integers(0, 9))
    table = data.draw(st.lists(st.lists(cell, min_size=items, max_size=items), min_size=1, max_size=5))
    loss = np.array([[one[0] for one in row] for row in table], dtype=float)
    loss[np.isinf(loss).all(axis=1), 0] = 1.0
    problem = one_budget(loss, np.array([[one[1] for one in row] for row in table]), 0)
    found = frontier(problem, data.draw(st.lists(st.integers(-3, 60), max_size=8)))
    assert_sound(problem, found)
    order = np.argsort(found.budgets, kind="stable")
    losses = found.losses[order]
    assert (losses[1:] <= losses[:-1]).all()
    for j in np.flatnonzero(found.feasible).tolist():
        judge = solve(with_budget(problem, int(found.budgets[j])), BruteForce()).loss
        assert found.bounds[j] - 1e-9 <= judge <= found.losses[j] + 1e-9


@pytest.mark.parametrize(
    ("classes", "items", "equal_sizes"), [(224, 8, False), (224, 8, True), (560, 24, False), (20_000, 8, False)]
)
def test_two_hundred_budgets_of_a_model(classes: int, items: int, equal_sizes: bool) -> None:
    problem = curves(classes, items, seed=3, equal_sizes=equal_sizes)
    found = frontier(problem, even_budgets(problem, 200 if classes < 1_000 else 12))
    assert_sound(problem, found)
    assert (np.diff(found.losses) <= 0).all()
    assert found.gaps[0] == found.gaps[-1] == 0
    assert np.median(found.gaps) < (2e-2 if equal_sizes else 3e-3)
    assert found.choices.dtype == np.int8


def test_bound_and_multiplier_are_those_of_the_solver() -> None:
    problem = curves(224, 8, seed=1)
    budgets = even_budgets(problem, 7)[1:-1]
    found = frontier(problem, budgets)
    for j, budget in enumerate(budgets.tolist()):
        solution = solve(with_budget(problem, budget), Mckp())
        assert found.bounds[j] == pytest.approx(solution.stats.lagrangian_bound, rel=1e-9)
        assert found.losses[j] <= solution.loss * 1.03


def test_order_of_items_and_classes_changes_no_loss() -> None:
    problem = curves(120, 8, seed=5)
    rng = np.random.default_rng(0)
    budgets = even_budgets(problem, 30)
    first = frontier(problem, budgets)
    shared = rng.permutation(8)
    own = rng.permuted(np.tile(np.arange(8), (120, 1)), axis=1)
    for order in (np.tile(shared, (120, 1)), own):
        moved = Problem(np.take_along_axis(problem.loss, order, 1), np.take_along_axis(problem.sizes, order[None], 2), NO_BUDGET)
        found = frontier(moved, budgets)
        assert found.losses.tolist() == first.losses.tolist()
        assert (np.take_along_axis(order, found.choices.T.astype(int), 1) == first.choices.T).all()
    classes = rng.permutation(120)
    found = frontier(Problem(problem.loss[classes], problem.sizes[:, classes], NO_BUDGET), budgets)
    assert found.losses == pytest.approx(first.losses, rel=1e-12)


@pytest.mark.parametrize("unit", [1e-300, 1e-30, 1e30, 1e280])
def test_the_unit_of_losses_changes_no_choice(unit: float) -> None:
    problem = curves(60, 8, seed=2)
    budgets = even_budgets(problem, 20)
    first, second = frontier(problem, budgets), frontier(Problem(problem.loss * unit, problem.sizes, NO_BUDGET), budgets)
    assert (first.choices == second.choices).all()
    assert second.multipliers == pytest.approx(first.multipliers * unit, rel=1e-6)


def test_budgets_are_given_in_any_order_and_may_repeat() -> None:
    problem = curves(50, 8, seed=4)
    budgets = np.repeat(even_budgets(problem, 9), 2)
    shuffled = np.random.default_rng(1).permutation(budgets.shape[0])
    straight, mixed = frontier(problem, budgets), frontier(problem, budgets[shuffled])
    assert (straight.choices[shuffled] == mixed.choices).all()
    assert straight.losses[shuffled].tolist() == mixed.losses.tolist()


def test_ends_of_the_range() -> None:
    problem = one_budget(np.array([[1.0, 0.0], [3.0, 1.0]]), np.array([[1, 2], [1, 2]]), 0)
    found = frontier(problem, [2**63 - 1, 2, 1, -(2**63), 3])
    assert found.feasible.tolist() == [True, True, False, False, True]
    assert found.losses.tolist() == [1.0, 4.0, np.inf, np.inf, 2.0]
    assert found.gaps.tolist() == [0.0, 0.0, np.inf, np.inf, 0.0]
    assert found.multipliers.tolist() == [0.0, 2.0, 0.0, 0.0, 1.0]
    assert found.choice(4).tolist() == [0, 1]
    with pytest.raises(SettingError, match="budget 1 is below 2"):
        found.choice(2)


def test_no_classes_and_no_budgets() -> None:
    empty = Problem(np.empty((0, 3)), np.empty((1, 0, 3), dtype=np.int64), NO_BUDGET)
    found = frontier(empty, [0, -1, 5])
    assert found.losses.tolist() == [0.0, np.inf, 0.0]
    assert found.choices.shape == (3, 0)
    assert even_budgets(empty, 3).tolist() == [0, 0, 0]
    assert frontier(curves(5, 4, seed=0), []).choices.shape == (0, 5)


def test_past_two_to_the_53_totals_stay_exact() -> None:
    rng = np.random.default_rng(0)
    problem = one_budget(rng.random((40, 6)), rng.integers(2**50, 2**56, (40, 6)), 0)
    assert_sound(problem, frontier(problem, even_budgets(problem, 50)))


def test_items_past_int8() -> None:
    problem = curves(6, 200, seed=0)
    found = frontier(problem, even_budgets(problem, 10))
    assert found.choices.dtype == np.int16
    assert_sound(problem, found)


def test_an_exchange_saves_what_a_fill_cannot() -> None:
    """The best step (rate 3) leaves 1 unit; giving it back for the next (rate 2.9, of size 4) is worth more."""
    problem = one_budget(np.array([[9.0, 0.0], [11.6, 0.0]]), np.array([[0, 3], [0, 4]]), 0)
    assert frontier(problem, [4]).choice(0).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("budgets", "message"), [([1.5], "whole numbers"), ([[1]], "shape"), ([2**70], "within int64|dtype object"), (3, "list")]
)
def test_budgets_that_are_none(budgets: object, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        frontier(curves(3, 4, seed=0), budgets)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="past int64"):
        frontier(curves(3, 4, seed=0), np.array([2**63], dtype=np.uint64))


def test_several_rows_are_refused() -> None:
    problem = Problem(np.zeros((2, 2)), np.ones((2, 2, 2), dtype=np.int64), np.array([4, 4]))
    for work in (lambda: frontier(problem, [4]), lambda: breakpoints(problem), lambda: even_budgets(problem, 3)):
        with pytest.raises(UnsupportedProblemError, match="2 rows of sizes; keep the one that binds"):
            work()


def test_even_budgets_run_from_the_floor_to_where_nothing_binds() -> None:
    problem = curves(40, 8, seed=0)
    budgets = even_budgets(problem, 11)
    assert budgets[0] == problem.smallest_sizes()[0]
    assert budgets[-1] == problem.sizes[0, np.arange(40), problem.loss.argmin(axis=1)].sum()
    assert np.ptp(np.diff(budgets)) <= 1
    assert even_budgets(problem, 1).tolist() == [budgets[-1]]
    with pytest.raises(SettingError, match="0 budgets"):
        even_budgets(problem, 0)
    tied = one_budget(np.array([[1.0, 0.0, 0.0]]), np.array([[1, 9, 4]]), 0)
    assert even_budgets(tied, 2).tolist() == [1, 4]


def test_breakpoints_are_optimal_plans() -> None:
    problem = curves(30, 6, seed=0)
    corners = breakpoints(problem)
    assert corners.sizes.shape[0] == corners.losses.shape[0] == corners.multipliers.shape[0] + 1
    assert (np.diff(corners.sizes) > 0).all()
    assert (np.diff(corners.multipliers) <= 0).all()
    found = frontier(problem, corners.sizes)
    assert found.losses == pytest.approx(corners.losses, rel=1e-12)
    assert found.gaps.max() == 0
    for j in range(0, corners.sizes.shape[0], 10):
        assert solve(with_budget(problem, int(corners.sizes[j])), Mckp()).loss == pytest.approx(corners.losses[j], rel=1e-12)


@pytest.mark.parametrize("losses", ["spread", "ties"])
@pytest.mark.parametrize("unit", [1, 2**41])
def test_the_coarse_order_takes_the_steps_of_the_full_order(losses: str, unit: int) -> None:
    """Choices, slack and multiplier before the rest is spent, one budget after the other, with totals past 2^53 too."""
    rng = np.random.default_rng(unit)
    loss = rng.integers(0, 9, (700, 6)).astype(float) if losses == "ties" else np.exp(rng.normal(0, 3, (700, 6)))
    problem = one_budget(loss, rng.integers(1, 40, (700, 6)) * unit, 0)
    steps, floor, budgets = walk_hulls(problem), int(problem.smallest_sizes()[0]), even_budgets(problem, 61)
    plans = take_in_order(find_hulls(problem), budgets - floor, least_loss(problem))
    used = np.append(0, np.cumsum(steps.grown))
    for j, budget in enumerate(budgets.tolist()):
        whole = int(np.flatnonzero(used <= budget - floor)[-1])
        choice = steps.grid.start
        for klass, item in zip(steps.klass[:whole], steps.item(slice(0, whole)), strict=True):
            choice[klass] = item
        assert plans.choices[j].tolist() == choice.tolist()
        assert plans.slack[j] == budget - floor - used[whole]
        assert plans.multiplier[j] == (steps.value(slice(whole, whole + 1))[0] if whole < steps.count else 0)
        assert plans.loss[j] == pytest.approx(total_loss(problem, choice), rel=1e-13)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["spread", "ties", "close", "extreme"]))
def test_counting_order_is_the_stable_order(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    count = COUNTED_FROM + int(rng.integers(0, 200))
    values = {
        "spread": np.exp(rng.normal(0, 3, count)),
        "ties": rng.integers(1, 50, count).astype(float),
        "close": np.append(1.0 + rng.random(count - 1) * 1e-9, 1e200),
        "extreme": np.append(np.exp(rng.uniform(-700, 700, count - 3)), [5e-324, 1.7e308, 1.0]),
    }[kind]
    assert descending_order(values).tolist() == np.argsort(-values, kind="stable").tolist()


def test_proved_is_optimal_and_monotone() -> None:
    problem = curves(84, 8, seed=0)
    budgets = np.append(even_budgets(problem, 25)[::-1], 0)
    found = proved(problem, budgets)
    assert (found.gaps[:-1] == 0).all()
    assert (found.bounds[:-1] == found.losses[:-1]).all()
    assert not found.feasible[-1]
    assert (np.diff(found.losses[:-1]) >= 0).all()
    rows = np.arange(84)
    for j in range(0, 25, 4):
        solution = solve(with_budget(problem, int(budgets[j])), Mckp())
        assert found.losses[j] == pytest.approx(solution.loss, rel=1e-12)
        assert problem.sizes[0, rows, found.choice(j)].sum() == found.sizes[j] <= budgets[j]


def test_proved_keeps_honest_gaps_where_a_limit_ends_the_solve() -> None:
    problem = curves(120, 8, seed=4)
    budgets = even_budgets(problem, 12)
    limited, late, closed = (
        proved(problem, budgets, solver=Mckp(max_states=5, max_nodes=0)),
        proved(problem, budgets, deadline=0),
        proved(problem, budgets),
    )
    for found in (limited, late):
        assert (np.diff(found.losses) <= 0).all()
        assert (np.diff(found.bounds) <= 0).all()
        assert (found.bounds <= closed.losses * (1 + 1e-12)).all()
        assert (closed.losses <= found.losses * (1 + 1e-12)).all()
        assert found.gaps.max() > 0
    assert (limited.gaps <= late.gaps + 1e-12).all()


def made(sizes: list[int], losses: list[float], floor: int = 0) -> Frontier:
    size, loss = np.array(sizes), np.array(losses)
    zeros = np.zeros(loss.shape)
    return Frontier(size.copy(), floor, loss, size, loss.copy(), zeros, zeros.copy(), np.zeros((len(sizes), 1), dtype=np.int8))


def test_knee_is_where_a_broken_line_bends() -> None:
    assert knee(made([0, 1, 2, 3, 4], [16.0, 4.0, 1.0, 0.95, 0.9])) == 2
    assert knee(made([4, 3, 2, 1, 0], [0.9, 0.95, 1.0, 4.0, 16.0])) == 2
    assert knee(made([0, 1, 2, 3], [4.0, 0.0, -0.1, -0.2])) == 1
    assert knee(made([5], [1.0])) == 0
    assert knee(made([5, 5, 7], [1.0, 1.0, 1.0])) == 0
    assert knee(made([0, 5, 6, 10], [np.inf, 9.0, 1.0, 0.9], floor=5)) == 2
    with pytest.raises(SettingError, match="budgets of its floor at least"):
        knee(made([1], [np.inf], floor=9))


def test_knee_does_not_depend_on_units() -> None:
    problem = curves(84, 8, seed=1)
    budgets = even_budgets(problem, 60)
    at = knee(frontier(problem, budgets))
    assert 0 < at < 59
    other = Problem(problem.loss * 1e-9, problem.sizes * 8, NO_BUDGET)
    assert knee(frontier(other, budgets * 8)) == at


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=7), st.integers(0, 14), st.integers(0, 14)
)
def test_property_hypervolume_counts_the_dominated_squares(points: list[tuple[int, int]], size: int, loss: int) -> None:
    found = made([one[0] for one in points], [float(one[1]) for one in points])
    squares = sum(any(s <= x and q <= y for s, q in points) for x in range(size) for y in range(loss))
    assert hypervolume(found, size, float(loss)) == squares


def test_hypervolume_rises_with_every_budget() -> None:
    problem = curves(60, 8, seed=6)
    budgets = even_budgets(problem, 33)
    coarse, fine = frontier(problem, budgets[::4]), frontier(problem, budgets)
    reference = int(budgets[-1]), float(fine.losses[0])
    assert 0 < hypervolume(coarse, *reference) < hypervolume(fine, *reference)
    with pytest.raises(SettingError, match="reference loss of inf"):
        hypervolume(fine, 1, np.inf)


def test_a_solver_that_fails_leaves_what_the_hulls_found() -> None:
    problem = one_budget(np.array([[2.0, 1.0, np.inf], [np.inf, 3.0, 1.0]]), np.array([[1, 4, 9], [9, 2, 5]]), 0)
    assert solve(with_budget(problem, 5), Uniform()).status is Status.FAILED
    assert_sound(problem, proved(problem, [3, 5, 6, 9], solver=Uniform()))


def test_losses_whose_multipliers_vanish_keep_true_bounds() -> None:
    loss, sizes = np.array([[60.0, 50.0, 0.0], [70.0, 20.0, 0.0]]) * 5e-324, np.array([[0, 300, 900], [0, 400, 10**6]])
    problem = one_budget(loss, sizes, 0)
    budgets = even_budgets(problem, 50)
    found = frontier(problem, budgets)
    for j, budget in enumerate(budgets.tolist()):
        assert found.bounds[j] <= solve(with_budget(problem, budget), BruteForce()).loss <= found.losses[j]
