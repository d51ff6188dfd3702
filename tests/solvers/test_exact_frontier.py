"""The whole exact frontier against brute force and against the solver of one budget."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers import BruteForce, Mckp, Problem, SettingError, Status, UnsupportedProblemError, solve
from solvers.frontiers import ExactFrontier, even_budgets, exact_frontier, frontier, hypervolume, knee, proved
from tests.solvers.contract import scale_of
from tests.solvers.instances import BITS_OF_8, LOSSES, Floats, curves, one_budget, tiny_problem

BLOCK_OF_7B = [4096 * 4096] * 4 + [4096 * 11008] * 3  # q, k, v, o; gate, up, down
STORED_BITS = np.array([2.125, 3.125, 4.125, 4.25, 5.125, 6.125, 8.5, 16.0])  # with scales


def model(weights: list[int], bits: Floats, *, seed: int) -> Problem:
    """Layers of real shapes with synthetic curves; sizes are weights times bits, exactly."""
    rng, count = np.random.default_rng(seed), np.array(weights)
    noise = np.exp(rng.normal(0, 0.25, (len(weights), len(bits))))
    loss = np.exp(rng.normal(0, 1.5, (len(weights), 1))) * 4.0**-bits * noise
    sizes = count[:, None] * bits
    assert (sizes == np.rint(sizes)).all()
    return one_budget(loss, sizes.astype(np.int64), 0)


def with_budget(problem: Problem, budget: int) -> Problem:
    return Problem(problem.loss, problem.sizes, np.array([budget]))


def all_plans(problem: Problem) -> tuple[list[int], list[float]]:
    """The undominated totals, by trying everything."""
    totals = {0: 0.0}
    for i in range(problem.classes):
        longer: dict[int, float] = {}
        for k in np.flatnonzero(problem.allowed()[i]).tolist():
            for size, loss in totals.items():
                total = size + int(problem.sizes[0, i, k])
                longer[total] = min(longer.get(total, np.inf), loss + float(problem.loss[i, k]))
        totals = longer
    sizes: list[int] = []
    losses: list[float] = []
    for size in sorted(totals):
        if not losses or totals[size] < losses[-1]:
            sizes.append(size)
            losses.append(totals[size])
    return sizes, losses


def assert_choice_is_the_point(problem: Problem, found: ExactFrontier, budget: int) -> None:
    choice, rows = found.choice(budget), np.arange(problem.classes)
    at = np.searchsorted(found.sizes, budget, side="right") - 1
    assert problem.sizes[0, rows, choice].sum() == found.sizes[at] <= budget
    assert problem.loss[rows, choice].sum() == pytest.approx(found.losses[at], abs=1e-12 * scale_of(problem))


@pytest.mark.parametrize("sizes", ["small", "equal", "lattice"])
@pytest.mark.parametrize("losses", LOSSES)
def test_every_kind_of_number(losses: str, sizes: str) -> None:
    for seed in range(10):
        problem = tiny_problem(seed, losses=losses, sizes=sizes, forbid=seed % 2 == 1)
        found = exact_frontier(problem)
        plans, least = all_plans(problem)
        tolerance = 1e-12 * scale_of(problem)
        assert found.sizes[0] == plans[0] == problem.smallest_sizes()[0]
        assert found.loss_at(plans) == pytest.approx(least, abs=tolerance)
        for budget in found.sizes.tolist():
            assert_choice_is_the_point(problem, found, budget)


cells = st.tuples(st.integers(-6, 6) | st.just(np.inf), st.integers(0, 12))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_property_is_every_undominated_plan(data: st.DataObject) -> None:
    items = data.draw(st.integers(1, 4))
    table = data.draw(st.lists(st.lists(cells, min_size=items, max_size=items), min_size=1, max_size=6))
    loss = np.array([[one[0] for one in row] for row in table], dtype=float)
    loss[np.isinf(loss).all(axis=1), 0] = 1.0
    unit = np.array(data.draw(st.lists(st.sampled_from([1, 6, 10, 64]), min_size=len(table), max_size=len(table))))
    problem = one_budget(loss, np.array([[one[1] for one in row] for row in table]) * unit[:, None], 0)
    found = exact_frontier(problem)
    assert (found.sizes.tolist(), found.losses.tolist()) == all_plans(problem)  # whole losses add up without rounding
    for budget in found.sizes.tolist():
        assert_choice_is_the_point(problem, found, budget)
    budget = data.draw(st.integers(int(found.sizes[0]), int(found.sizes[-1]) + 20))
    assert found.loss_at([budget])[0] == solve(with_budget(problem, budget), BruteForce()).loss


@pytest.mark.parametrize("bits", [BITS_OF_8, STORED_BITS], ids=["bits", "with scales"])
def test_seven_billion_parameters_equal_the_solver(bits: Floats) -> None:
    problem = model(BLOCK_OF_7B * 32, bits, seed=0)
    found = exact_frontier(problem)
    assert found.unit in (2**20, 2**17)
    for budget in even_budgets(problem, 24).tolist():
        solution = solve(with_budget(problem, budget), Mckp())
        assert solution.status is Status.OPTIMAL
        assert found.loss_at([budget])[0] == pytest.approx(solution.loss, rel=1e-12)
    for budget in even_budgets(problem, 5).tolist():
        assert_choice_is_the_point(problem, found, budget)


def test_it_dominates_every_other_frontier() -> None:
    problem = model(BLOCK_OF_7B * 4, BITS_OF_8, seed=1)
    budgets = even_budgets(problem, 40)
    whole, closed, fast = exact_frontier(problem), proved(problem, budgets), frontier(problem, budgets)
    assert whole.loss_at(budgets) == pytest.approx(closed.losses, rel=1e-12)
    assert (closed.losses <= fast.losses * (1 + 1e-12)).all()
    assert (fast.bounds <= closed.losses * (1 + 1e-12)).all()
    reference = int(budgets[-1]), float(whole.losses[0])
    assert hypervolume(whole, *reference) >= hypervolume(closed, *reference)
    assert 0 < knee(whole) < whole.sizes.shape[0] - 1


def test_units_that_share_nothing_still_add_up() -> None:
    rng = np.random.default_rng(0)
    unit = np.array([7, 11, 13, 7, 11, 1])
    problem = one_budget(rng.random((6, 4)), rng.integers(0, 6, (6, 4)) * unit[:, None], 0)
    found = exact_frontier(problem)
    plans, least = all_plans(problem)
    assert found.sizes.tolist() == plans
    assert found.losses == pytest.approx(least, rel=1e-12)


def test_one_item_a_class_is_one_point() -> None:
    problem = one_budget(np.array([[np.inf, 2.0], [3.0, 4.0]]), np.array([[1, 5], [2, 2]]), 0)
    found = exact_frontier(problem)
    assert (found.sizes.tolist(), found.losses.tolist(), found.choice(7).tolist()) == ([7], [5.0], [1, 0])
    with pytest.raises(SettingError, match="budget 6 is below 7"):
        found.choice(6)
    assert found.loss_at([6, 7]).tolist() == [np.inf, 5.0]


def test_no_classes() -> None:
    for items in (0, 3):
        empty = Problem(np.empty((0, items)), np.empty((1, 0, items), dtype=np.int64), np.array([0]))
        found = exact_frontier(empty)
        assert (found.sizes.tolist(), found.losses.tolist(), found.choice(0).tolist()) == ([0], [0.0], [])
        assert frontier(empty, [0]).losses.tolist() == [0.0]


def test_refuses_sizes_without_a_lattice_and_says_what_to_use() -> None:
    with pytest.raises(UnsupportedProblemError, match=r"units of 1,.* bytes .* use frontier\(\) for bounds, proved\(\)"):
        exact_frontier(curves(224, 8, seed=0))
    widest = one_budget(np.array([[1.0, 0.0]] * 3), np.array([[0, 2**61], [0, 2**61 - 1], [0, 2**61]]), 0)
    with pytest.raises(UnsupportedProblemError, match="units of 1,"):
        exact_frontier(widest)
    small = model(BLOCK_OF_7B, BITS_OF_8, seed=0)
    for name, word in (("max_bytes", "bytes"), ("max_sums", "sums")):
        with pytest.raises(UnsupportedProblemError, match=word):
            exact_frontier(small, **{name: 100})
        with pytest.raises(SettingError, match=f"{name} is 0"):
            exact_frontier(small, **{name: 0})
    two_rows = Problem(np.zeros((2, 2)), np.ones((2, 2, 2), dtype=np.int64), np.array([4, 4]))
    with pytest.raises(UnsupportedProblemError, match="2 rows of sizes"):
        exact_frontier(two_rows)


def test_the_row_of_a_single_class_counts_too() -> None:
    with pytest.raises(UnsupportedProblemError, match="max_bytes"):
        exact_frontier(one_budget(np.array([[2.0, 1.0, 0.0]]), np.array([[10**11, 10**11 + 1, 7 * 10**11]]), 10**12))
