"""Plain ways to choose, the hulls under some of them, and how far each is from the optimum."""

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from solvers import AbstractSolver, HullGreedy, Mckp, Problem, Status, Uniform, UnsupportedProblemError, solve
from solvers.baselines import AdjacentGreedy, LpRounding, OmpqLinear, Random, RatioRule, TwoFormats
from solvers.hulls.hull import walk_hulls
from tests.solvers.contract import SolverContract
from tests.solvers.instances import budget_at, curves, one_budget
from tests.solvers.test_hawq_programs import CASES, PROGRAMS, classes_of, whole


class TestLpRounding(SolverContract):
    solver = LpRounding()
    exact = False


class TestAdjacentGreedy(SolverContract):
    solver = AdjacentGreedy()
    exact = False


class TestRatioRule(SolverContract):
    solver = RatioRule()
    exact = False


class TestOmpqLinear(SolverContract):
    solver = OmpqLinear()
    exact = False


class TestTwoFormats(SolverContract):
    solver = TwoFormats()
    exact = False
    always_answers = False


class TestShuffle(SolverContract):
    solver = Random(seed=3)
    exact = False


def test_uniform_is_the_best_column_that_fits() -> None:
    problem = one_budget(np.array([[9.0, 4.0, 1.0], [9.0, 4.0, 1.0]]), np.array([[1, 2, 3], [1, 2, 3]]), 5)
    solution = solve(problem, Uniform())
    assert (solution.choice.tolist(), solution.loss, solution.status) == ([1, 1], 8.0, Status.FEASIBLE)


def test_uniform_takes_a_worse_small_column_only_when_it_must() -> None:
    loss, sizes = np.array([[9.0, 10.0], [9.0, 10.0]]), np.array([[1, 2], [1, 2]])
    assert solve(one_budget(loss, sizes, 4), Uniform()).choice.tolist() == [0, 0]


def test_uniform_says_why_it_has_nothing() -> None:
    loss = np.array([[1.0, np.inf], [np.inf, 1.0]])
    assert "no item is allowed in every class" in solve(one_budget(loss, np.ones((2, 2), dtype=np.int64), 2), Uniform()).reason
    mixed = one_budget(np.zeros((2, 2)), np.array([[1, 3], [3, 1]]), 3)
    solution = solve(mixed, Uniform())
    assert solution.status is Status.FAILED
    assert "[4]" in solution.reason
    assert solve(mixed, Mckp()).status is Status.OPTIMAL


def test_uniform_keeps_several_budgets() -> None:
    sizes = np.array([[[1, 2, 3]] * 2, [[3, 2, 1]] * 2])
    problem = Problem(np.array([[1.0, 2.0, 3.0]] * 2), sizes, np.array([5, 5]))
    assert solve(problem, Uniform()).choice.tolist() == [1, 1]


@pytest.mark.parametrize("share", [0.05, 0.4, 0.9])
def test_greedy_has_the_bound_of_the_optimum_and_a_small_gap(share: float) -> None:
    problem = curves(224, 8, seed=5, share=share)
    greedy, optimum = solve(problem, HullGreedy()), solve(problem, Mckp())
    assert greedy.stats.lagrangian_bound == pytest.approx(optimum.stats.lagrangian_bound, rel=1e-9)
    assert optimum.loss <= greedy.loss <= optimum.loss * 1.2
    assert greedy.status is Status.FEASIBLE


def test_greedy_does_not_stall_at_an_item_above_the_hull() -> None:
    """The middle item saves nothing; its neighbour does. A greedy over adjacent items would stop before it."""
    problem = one_budget(np.array([[10.0, 10.0, 0.0]]), np.array([[1, 2, 3]]), 3)
    assert solve(problem, HullGreedy()).choice.tolist() == [2]


def test_greedy_fills_with_later_steps() -> None:
    problem = one_budget(np.array([[10.0, 0.0], [5.0, 0.0], [1.0, 0.0]]), np.array([[0, 4], [0, 4], [0, 1]]), 5)
    assert solve(problem, HullGreedy()).choice.tolist() == [1, 0, 1]


def test_hull_corners_are_those_of_scipy() -> None:
    problem = curves(40, 8, seed=2)
    steps = walk_hulls(problem)
    item = steps.item(slice(None))
    for i in range(problem.classes):
        ours = {int(steps.grid.start[i])} | set(item[steps.klass == i].tolist())
        points = np.column_stack((problem.sizes[0, i] / problem.sizes[0, i].max(), problem.loss[i] / problem.loss[i].max()))
        hull = ConvexHull(np.vstack((points, [points.max(axis=0) + 1, [3, points[:, 1].min()], [points[:, 0].min(), 3]])))
        theirs = {k for k in hull.vertices.tolist() if k < 8}
        assert ours == theirs


def test_lp_rounding_leaves_the_budget_that_greedy_spends() -> None:
    problem = one_budget(np.array([[10.0, 0.0], [5.0, 0.0], [1.0, 0.0]]), np.array([[0, 4], [0, 4], [0, 1]]), 5)
    rounded, greedy = solve(problem, LpRounding()), solve(problem, HullGreedy())
    assert (rounded.choice.tolist(), greedy.choice.tolist()) == ([1, 0, 0], [1, 0, 1])
    assert rounded.multipliers.tolist() == greedy.multipliers.tolist() == [1.25]


def test_adjacent_greedy_stalls_before_a_poor_step() -> None:
    """The step of class 0 that saves 9 lies behind one that saves 1; class 1 saves 2 a unit."""
    problem = one_budget(np.array([[10.0, 9.0, 0.0], [4.0, 2.0, 0.0]]), np.array([[1, 2, 3], [1, 2, 3]]), 4)
    assert solve(problem, AdjacentGreedy()).choice.tolist() == [0, 2]
    assert solve(problem, HullGreedy()).choice.tolist() == [2, 0]


def test_adjacent_greedy_is_the_loop_that_it_stands_for() -> None:
    for seed in range(10):
        problem = curves(12, 8, seed=seed, share=0.3)
        loss, size, at = problem.loss, problem.sizes[0], np.zeros(12, dtype=int)
        steps, room = [0], int(problem.budgets[0] - size[:, 0].sum())
        blocked = np.zeros(12, dtype=bool)
        while steps:
            steps = [i for i in range(12) if at[i] < 7 and not blocked[i]]
            following = {i: next((k for k in range(at[i] + 1, 8) if loss[i, k] < loss[i, at[i]]), None) for i in steps}
            steps = [i for i in steps if following[i] is not None]
            if steps:
                saved = {i: (loss[i, at[i]] - loss[i, following[i]]) / (size[i, following[i]] - size[i, at[i]]) for i in steps}
                best = max(steps, key=lambda i: saved[i])
                grown = int(size[best, following[best]] - size[best, at[best]])
                blocked[best] = grown > room
                if not blocked[best]:
                    at[best], room = following[best], room - grown
        assert solve(problem, AdjacentGreedy()).choice.tolist() == at.tolist()


PUBLISHED_EXCESS = {  # of the greedy by ratio over the optimum, in percent, recomputed from the published vectors
    ("resnet18", "size"): (0.0, 0.0, 35.4),
    ("resnet18", "bops"): (0.5, 0.7, 0.0),
    ("resnet18", "latency"): (0.0, 0.0, 0.0),
    ("resnet50", "size"): (0.0, 3.2, 0.0),
    ("resnet50", "bops"): (2.5, 1.4, 4.6),
    ("resnet50", "latency"): (0.0, 0.7, 0.0),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['model']}-{case['resource']}-{case['fraction']}")
def test_ratio_rule_on_the_published_programs(case: dict[str, object]) -> None:
    loss, sizes, _ = classes_of(PROGRAMS["models"][case["model"]], str(case["resource"]))
    problem = one_budget(loss, sizes, whole(case["budget"]))  # type: ignore[arg-type]
    ratio = solve(problem, RatioRule())
    fraction = [0.25, 0.5, 0.75].index(float(case["fraction"]))  # type: ignore[arg-type]
    expected = PUBLISHED_EXCESS[str(case["model"]), str(case["resource"])][fraction]
    assert 100 * (ratio.loss / float(case["optimal_loss"]) - 1) == pytest.approx(expected, abs=0.06)  # type: ignore[arg-type]


def test_ratio_rule_takes_a_smaller_item_where_the_best_does_not_fit() -> None:
    problem = one_budget(np.array([[9.0, 4.0, 0.0], [3.0, 2.0, 1.0]]), np.array([[1, 2, 3], [1, 2, 4]]), 5)
    assert solve(problem, RatioRule()).choice.tolist() == [2, 1]
    assert solve(problem, OmpqLinear()).choice.tolist() == [2, 1]


def test_ompq_ends_at_the_corners_of_its_box() -> None:
    problem = curves(60, 8, seed=0)
    choice = solve(problem, OmpqLinear()).choice
    assert np.count_nonzero((choice != 0) & (choice != 7)) <= 1
    assert {0, 7} <= set(choice.tolist())


def test_ompq_follows_its_scores_whatever_the_losses() -> None:
    loss, sizes = np.array([[1.0, 0.0], [100.0, 0.0], [1.0, 0.0]]), np.array([[1, 2], [1, 2], [1, 3]])
    assert solve(one_budget(loss, sizes, 4), OmpqLinear((2.0, 1.0, 3.0))).choice.tolist() == [1, 0, 0]
    assert solve(one_budget(loss, sizes, 4), OmpqLinear()).choice.tolist() == [0, 1, 0]
    with pytest.raises(UnsupportedProblemError, match="2 scores for 3 classes"):
        solve(one_budget(loss, sizes, 4), OmpqLinear((1.0, 2.0)))


def test_two_formats_promotes_the_most_sensitive_classes() -> None:
    loss = np.array([[9.0, 1.0, 0.9], [3.0, 1.0, 0.9], [5.0, 1.0, 0.9]])
    sizes = np.array([[2, 4, 16]] * 3)
    assert solve(one_budget(loss, sizes, 10), TwoFormats()).choice.tolist() == [1, 0, 1]
    nowhere = one_budget(np.array([[1.0, np.inf], [np.inf, 1.0]]), np.ones((2, 2), dtype=np.int64), 2)
    assert "no item of every class" in solve(nowhere, TwoFormats()).reason
    assert "smallest has size 4" in solve(one_budget(np.zeros((2, 2)), np.array([[1, 3], [3, 1]]), 3), TwoFormats()).reason


def test_two_formats_is_no_worse_than_one() -> None:
    for seed in range(5):
        problem = curves(50, 8, seed=seed)
        assert solve(problem, TwoFormats()).loss <= solve(problem, Uniform()).loss


def test_random_draws_by_its_seed_and_uses_up_the_budget() -> None:
    problem = curves(40, 8, seed=0)
    choices = [tuple(solve(problem, Random(seed)).choice.tolist()) for seed in range(6)]
    assert len(set(choices)) == 6
    for choice in choices:
        sizes = problem.sizes[0, np.arange(40), choice]
        larger = np.array([problem.sizes[0, i, k + 1] - sizes[i] for i, k in enumerate(choice) if k < 7])
        assert larger.min() > problem.budgets[0] - sizes.sum()


LADDER = np.array([2.5625, 3.0625, 3.4375, 4.25, 4.5, 5.5, 6.5625, 8.5])  # bits of eight llama.cpp formats, Q2_K to Q8_0


def ladder_problem(seed: int) -> Problem:
    """The study's family on widths as close together as those of real formats, where noise makes curves that are not convex."""
    rng = np.random.default_rng(seed)
    loss = np.exp(rng.normal(0, 1.5, (224, 1))) * 4.0**-LADDER * np.exp(rng.normal(0, 0.25, (224, 8)))
    sizes = np.rint(np.exp(rng.uniform(np.log(1e5), np.log(5e7), (224, 1))) * LADDER).astype(np.int64)
    return one_budget(loss, sizes, budget_at(loss, sizes, 0.4))


def test_order_of_merit() -> None:
    """Median excess over the proven optimum, and the order that the study found (section 8)."""
    solvers: dict[str, AbstractSolver] = {
        "hull greedy": HullGreedy(),
        "LP rounding": LpRounding(),
        "adjacent greedy": AdjacentGreedy(),
        "two formats": TwoFormats(),
        "uniform": Uniform(),
        "ratio rule": RatioRule(),
        "OMPQ": OmpqLinear(),
        "random": Random(),
    }
    problems = [ladder_problem(seed) for seed in range(12)]
    optima = np.array([solve(problem, Mckp()).loss for problem in problems])
    excess = {
        name: float(np.median(np.array([solve(problem, solver).loss for problem in problems]) / optima - 1))
        for name, solver in solvers.items()
    }
    assert excess["hull greedy"] <= 3e-3
    assert excess["hull greedy"] <= excess["LP rounding"] <= 5e-2
    assert excess["adjacent greedy"] >= 5e-2
    assert excess["adjacent greedy"] < excess["two formats"] < excess["uniform"]
    assert 1.0 <= excess["uniform"] < excess["random"]
    assert excess["two formats"] < min(excess["ratio rule"], excess["OMPQ"])
