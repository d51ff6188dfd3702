"""The solver of interactions against brute force, HiGHS's linear relaxations, its own limits, and the study's families."""

import numpy as np
import pytest

from solvers import BruteForce, Mckp, Problem, SettingError, Solution, Status, UnsupportedProblemError, solve
from solvers.arrays import Floats, Integers
from solvers.interaction import Gram, Interaction, PairTables
from solvers.interactions import AbstractInteraction, Minorant
from tests.solvers.contract import SolverContract
from tests.solvers.instances import LOSSES, SIZES
from tests.solvers.interaction.instances import dense_model, local_model, scale, tiny_gram, tiny_pairs, two_budgets

KINDS = ("row", "ring", "blocks", "all")
LIMITED = Interaction(max_nodes=0, max_states=0)


class TestWithoutInteraction(SolverContract):
    solver = Interaction()
    exact = True


def tolerance(problem: Problem) -> float:
    strength = 1.0 + (problem.interaction.weights.sum() / scale(problem) if isinstance(problem.interaction, Gram) else 0.0)
    return 1e-11 * scale(problem) * problem.classes**2 * float(strength)


def checked(problem: Problem, solver: Interaction) -> Solution:
    """Solved, and what must hold of every answer."""
    solution, judge = solve(problem, solver), solve(problem, BruteForce())
    assert (solution.status is Status.INFEASIBLE) == (judge.status is Status.INFEASIBLE)
    if judge.status is Status.INFEASIBLE:
        return solution
    assert solution.status in (Status.OPTIMAL, Status.LIMIT), solution.reason
    assert solution.lower_bound - tolerance(problem) <= judge.loss <= solution.loss + tolerance(problem)
    assert solution.lower_bound <= solution.loss
    assert solution.stats.lagrangian_bound <= judge.loss + tolerance(problem)
    assert (solution.sizes <= problem.budgets).all()
    if solution.status is Status.OPTIMAL:
        assert solution.loss == pytest.approx(judge.loss, abs=max(tolerance(problem), 1e-8 * abs(judge.loss)))
    return solution


@pytest.mark.parametrize("losses", LOSSES)
@pytest.mark.parametrize("sizes", SIZES)
def test_rows_are_always_exact(losses: str, sizes: str) -> None:
    for seed in range(8):
        solution = checked(tiny_pairs(seed, kind="row", losses=losses, sizes=sizes, forbid=seed % 2 == 0), Interaction())
        assert solution.status is not Status.LIMIT


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("forbid", [False, True])
def test_pairs_of_any_sign_equal_brute_force(kind: str, forbid: bool) -> None:
    for seed in range(12):
        assert checked(tiny_pairs(100 + seed, kind=kind, forbid=forbid), Interaction()).status is not Status.LIMIT
        checked(tiny_pairs(100 + seed, kind=kind, forbid=forbid), LIMITED)


@pytest.mark.parametrize("losses", LOSSES)
def test_squares_of_sums_equal_brute_force(losses: str) -> None:
    for seed in range(20):
        sizes = list(SIZES)[seed % len(SIZES)]
        problem = tiny_gram(seed, losses=losses, sizes=sizes, forbid=seed % 3 == 0)
        assert checked(problem, Interaction()).status is not Status.LIMIT
        checked(problem, LIMITED)


@pytest.mark.parametrize("seed", range(40))
def test_two_budgets_equal_brute_force(seed: int) -> None:
    one = tiny_gram(seed) if seed % 2 else tiny_pairs(seed, kind=KINDS[seed // 2 % 4])
    problem = two_budgets(one, share=(0.25, 0.6, 0.9)[seed % 3])
    if solve(problem, BruteForce()).status is not Status.FAILED:
        assert checked(problem, Interaction()).status is not Status.LIMIT
        checked(problem, LIMITED)


@pytest.mark.parametrize("seed", range(12))
def test_order_of_classes_and_items_and_dominated_items_change_no_optimum(seed: int) -> None:
    problem = tiny_gram(seed, forbid=True) if seed % 2 else tiny_pairs(seed, kind=KINDS[seed // 2 % 4], forbid=True)
    rng = np.random.default_rng(seed)
    classes, items = rng.permutation(problem.classes), rng.permutation(problem.items)
    shuffled = Problem(
        problem.loss[classes][:, items],
        problem.sizes[:, classes][:, :, items],
        problem.budgets,
        (),
        moved(problem.interaction, classes, items),
    )
    doubled = Problem(
        np.concatenate((problem.loss + 0.5, problem.loss), axis=1),
        np.concatenate((problem.sizes + 1, problem.sizes), axis=2),
        problem.budgets,
        (),
        moved(problem.interaction, np.arange(problem.classes), np.tile(np.arange(problem.items), 2)),
    )
    first = solve(problem, Interaction())
    for other in (shuffled, doubled):
        second = solve(other, Interaction())
        assert first.status is second.status
        assert first.loss == pytest.approx(second.loss, abs=tolerance(problem))


def moved(interaction: AbstractInteraction | None, classes: Integers, items: Integers) -> Gram | PairTables:
    """The interaction of a problem that has class ``classes[i]`` at i and item ``items[k]`` at k."""
    if isinstance(interaction, Gram):
        return Gram(interaction.factors[:, classes][:, :, items], interaction.weights, interaction.diagonal)
    assert isinstance(interaction, PairTables)
    tables = interaction.tables[:, items][:, :, items]
    return PairTables.merged(np.argsort(classes)[interaction.pairs], tables, interaction.classes)


@pytest.mark.parametrize("unit", [1e-30, 1e-6, 1e30])
@pytest.mark.parametrize("seed", range(4))
def test_units_change_no_choice(seed: int, unit: float) -> None:
    for problem in (tiny_gram(seed), tiny_pairs(seed, kind=KINDS[seed])):
        first, second = solve(problem, Interaction()), solve(in_units(problem, unit, 7), Interaction())
        assert first.status is second.status
        if first.choice.size:
            assert second.choice.tolist() == first.choice.tolist()
            assert second.lower_bound == pytest.approx(first.lower_bound * unit, rel=1e-9)


def in_units(problem: Problem, unit: float, size_unit: int) -> Problem:
    interaction = problem.interaction
    if isinstance(interaction, Gram):
        interaction = Gram(interaction.factors, interaction.weights * unit, interaction.diagonal)
    if isinstance(interaction, PairTables):
        interaction = PairTables(interaction.pairs, interaction.tables * unit, interaction.classes)
    return Problem(problem.loss * unit, problem.sizes * size_unit, problem.budgets * size_unit, (), interaction)


@pytest.mark.parametrize("problem", [tiny_gram(3), tiny_pairs(3, kind="all"), tiny_pairs(3, kind="row")])
def test_repeats_itself(problem: Problem) -> None:
    first, second = solve(problem, Interaction()), solve(problem, Interaction())
    assert first.choice.tolist() == second.choice.tolist()
    assert first.multipliers.tolist() == second.multipliers.tolist()
    assert first.certificate is not None
    assert second.certificate is not None
    assert first.certificate.tolist() == second.certificate.tolist()


def test_a_zero_interaction_is_the_knapsack() -> None:
    problem = dense_model(84)
    alone = Problem(problem.loss, problem.sizes, problem.budgets)
    for nothing in (
        Gram(np.zeros((1, 84, 4)), np.ones(1)),
        PairTables(np.empty((0, 2), dtype=np.int64), np.empty((0, 4, 4)), 84),
    ):
        solution = solve(Problem(problem.loss, problem.sizes, problem.budgets, (), nothing), Interaction())
        assert (solution.status, solution.loss) == (Status.OPTIMAL, solve(alone, Mckp()).loss)


def test_one_class_has_only_itself_to_interact_with() -> None:
    gram = Gram(np.array([[[1.0, -2.0, 0.5]]]), np.ones(1))
    problem = Problem(np.array([[0.0, -1.0, 0.5]]), np.array([[[1, 2, 3]]]), np.array([3]), (), gram)
    solution = solve(problem, Interaction())
    assert (solution.status, solution.choice.tolist(), solution.loss) == (Status.OPTIMAL, [2], 0.75)


def test_other_interactions_are_refused() -> None:
    class Other(AbstractInteraction):
        def check(self, classes: int, items: int) -> None:
            pass

        def values(self, choices: Integers) -> Floats:
            return np.zeros(choices.shape[0])

        def minorant(self, certificate: Floats | None) -> Minorant:
            return Minorant(np.zeros((1, 1)), 0.0)

    with pytest.raises(UnsupportedProblemError, match=r"not Other.*BruteForce"):
        solve(Problem(np.ones((1, 1)), np.ones((1, 1, 1), dtype=np.int64), np.array([1]), (), Other()), Interaction())


def recomputed_bound(problem: Problem, solution: Solution) -> float:
    """The few lines with which anybody checks the bound of a solution with an interaction."""
    certificate, interaction = solution.certificate, problem.interaction
    assert certificate is not None
    priced = problem.loss + np.tensordot(solution.multipliers, problem.sizes.astype(float), axes=1)
    if isinstance(interaction, Gram):
        priced = priced + np.tensordot(2 * interaction.weights * certificate, interaction.factors, axes=1)
        constant = -float(interaction.weights @ certificate**2)
    else:
        assert isinstance(interaction, PairTables)
        constant = 0.0
        for (i, j), table, (a, b) in zip(interaction.pairs, interaction.tables, certificate, strict=True):
            priced[i] += a
            priced[j] += b
            constant += float((table - a[:, None] - b).min())
    return float(priced.min(axis=1).sum() - solution.multipliers @ problem.budgets) + constant


@pytest.mark.parametrize("problem", [dense_model(84), local_model(84, "row"), local_model(84, "blocks")])
def test_the_bound_can_be_recomputed_from_what_the_solution_holds(problem: Problem) -> None:
    solution = solve(problem, Interaction(max_nodes=0))
    assert solution.stats.lagrangian_bound == pytest.approx(recomputed_bound(problem, solution), rel=1e-9)


def test_models_of_84_classes_are_proven() -> None:
    for problem, gap in ((dense_model(84), 0.01), (local_model(84, "row"), 0.01), (local_model(84, "blocks"), 0.01)):
        solution = solve(problem, Interaction())
        assert solution.status is Status.OPTIMAL
        assert solution.stats.lagrangian_gap < gap
        separable = solve(Problem(problem.loss, problem.sizes, problem.budgets), Mckp())
        assert problem.interaction is not None
        assert separable.loss + problem.interaction.values(separable.choice[None])[0] >= solution.loss


def test_long_rows_are_searched_narrowly_first(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = local_model(84, "row")
    at_once = solve(problem, Interaction())
    monkeypatch.setattr("solvers.interaction.solver.LONG_LIST", 100)
    monkeypatch.setattr("solvers.interaction.solver.WIDTH", 5)
    narrow = solve(problem, Interaction())
    assert narrow.status is at_once.status is Status.OPTIMAL
    assert narrow.loss == pytest.approx(at_once.loss, rel=1e-12)
    assert narrow.stats.states != at_once.stats.states
    for seed in range(40):
        assert checked(tiny_pairs(seed, kind="row"), Interaction()).status is not Status.LIMIT


def test_rows_without_a_search_go_the_way_of_all_pairs() -> None:
    problem = local_model(84, "row")
    searched, program = solve(problem, Interaction()), solve(problem, Interaction(max_states=0))
    assert (searched.stats.proof, program.stats.proof) == ("search", "milp")
    assert searched.loss == pytest.approx(program.loss, rel=1e-9)


@pytest.mark.parametrize("problem", [dense_model(84), local_model(84, "blocks"), local_model(84, "blocks", seed=1)])
def test_a_program_that_ends_early_makes_no_plan_worse(problem: Problem) -> None:
    without, early = (solve(problem, Interaction(max_nodes=nodes, patience=0)) for nodes in (0, 1))
    assert early.loss <= without.loss


@pytest.mark.parametrize(
    "problem", [dense_model(84), local_model(84, "row"), local_model(84, "blocks"), two_budgets(dense_model(84))]
)
def test_at_the_deadline_the_plan_and_its_gap(problem: Problem) -> None:
    solution = solve(problem, Interaction(), deadline=0)
    assert solution.status is Status.LIMIT
    assert 0 < solution.gap < 2
    assert solution.lower_bound == pytest.approx(recomputed_bound(problem, solution), rel=1e-9) or solution.certificate is None
    assert (solution.sizes <= problem.budgets).all()


def test_negative_limits_are_refused() -> None:
    with pytest.raises(SettingError, match="max_core is -1"):
        Interaction(max_core=-1)
