"""The pieces of the solver beside references: the simplex program, the two bounds, the row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.sparse import coo_array

from solvers import Deadline, Problem
from solvers.interaction import PairTables
from solvers.interaction.additive import AdditivePart
from solvers.interaction.chain import bound_row, find_row
from solvers.interaction.frank_wolfe import bound_gram
from solvers.interaction.gram import Gram
from solvers.interaction.local_search import improve
from solvers.interaction.messages import bound_pairs
from solvers.interaction.simplex_program import minimise_on_simplex
from solvers.problem import total_loss, total_sizes
from tests.solvers.interaction.instances import dense_model, graph, local_model, two_budgets


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 6), st.sampled_from([0.0, 1.0, 100.0]))
def test_property_the_simplex_program_keeps_its_optimality_conditions(seed: int, points: int, rank: int, linear: float) -> None:
    rng = np.random.default_rng(seed)
    totals = rng.normal(size=(points, rank)) * rng.integers(0, 2, (points, 1))
    costs, gram = linear * rng.normal(size=points), totals @ totals.T
    weights = minimise_on_simplex(costs, gram, np.eye(points)[0])
    slope = costs + 2 * gram @ weights
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    assert slope.min() >= float(slope @ weights) - 1e-8 * (1 + np.abs(costs).max() + np.abs(gram).max())


def local_polytope(problem: Problem, part: AdditivePart) -> float:
    """The linear program that messages climb towards, by HiGHS."""
    interaction = problem.interaction
    assert isinstance(interaction, PairTables)
    classes, items = problem.loss.shape
    pairs, cells = interaction.pairs, classes * items
    products = np.arange(pairs.shape[0] * items**2).reshape(-1, items, items) + cells
    rows, columns, values = [np.repeat(np.arange(classes), items)], [np.arange(cells)], [np.ones(cells)]
    row = classes
    for side, ends in ((2, pairs[:, 0]), (1, pairs[:, 1])):
        for p, i in enumerate(ends):
            for k in range(items):
                summed = products[p, k, :] if side == 2 else products[p, :, k]
                rows.append(np.full(items + 1, row))
                columns.append(np.append(summed, i * items + k))
                values.append(np.append(np.ones(items), -1.0))
                row += 1
    equal = coo_array((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))))
    right = np.zeros(row)
    right[:classes] = 1.0
    cost = np.concatenate((problem.loss.ravel(), interaction.tables.ravel())) * 1e4
    size = np.concatenate((problem.sizes[0].ravel() / 1e6, np.zeros(products.size)))
    result = linprog(cost, A_ub=size[None], b_ub=[part.budgets[0] / 1e6], A_eq=equal.tocsr(), b_eq=right)
    return float(result.fun) / 1e4


def test_messages_reach_the_local_polytope() -> None:
    problem = local_model(42, "blocks")
    part = AdditivePart(problem)
    assert isinstance(problem.interaction, PairTables)
    first = part.plan(problem.loss, Deadline()).choice
    assert first is not None
    bound = bound_pairs(part, problem.interaction, first, max_sweeps=300, deadline=Deadline())
    reference = local_polytope(problem, part)
    assert reference * (1 - 1e-3) < bound.value <= reference * (1 + 1e-7)


def test_the_bound_of_a_row_is_the_local_polytope() -> None:
    problem = local_model(42, "row")
    part = AdditivePart(problem)
    assert isinstance(problem.interaction, PairTables)
    assert part.excess is not None
    row = find_row(problem.interaction)
    assert row is not None
    bound = bound_row(problem, part.excess, row, 1e-9)
    value = float((bound.priced[0] + bound.ahead[0]).min()) - bound.multiplier * part.excess.capacity
    assert value == pytest.approx(local_polytope(problem, part), rel=1e-8)


@pytest.mark.parametrize("budgets", [1, 2])
def test_frank_wolfe_closes_on_the_mixed_optimum(budgets: int) -> None:
    """Asked for more, the bound rises, and by no more than was asked for before."""
    problem = dense_model(84) if budgets == 1 else two_budgets(dense_model(84))
    part = AdditivePart(problem)
    assert isinstance(problem.interaction, Gram)
    values = [
        bound_gram(part, problem.interaction, tolerance=tolerance, max_steps=400, deadline=Deadline()).value
        for tolerance in (1e-3, 1e-5, 1e-7)
    ]
    assert values == sorted(values)
    assert values[0] == pytest.approx(values[2], rel=1e-3)
    assert values[1] == pytest.approx(values[2], rel=1e-5)


@pytest.mark.parametrize("seed", range(30))
def test_rows_are_found_in_any_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(1, 9))
    pairs = graph("row", classes, rng).reshape(-1, 2)
    tables = rng.normal(size=(pairs.shape[0], 3, 3))
    row = find_row(PairTables.merged(pairs, tables, classes))
    assert row is not None
    assert sorted(row.order.tolist()) == list(range(classes))
    choice = rng.integers(0, 3, classes)
    along = choice[row.order]
    value = row.tables[np.arange(classes - 1), along[:-1], along[1:]].sum()
    assert value == pytest.approx(PairTables.merged(pairs, tables, classes).values(choice[None])[0])


def test_rings_and_stars_are_no_rows() -> None:
    for pairs in ([[0, 1], [1, 2], [0, 2]], [[0, 1], [0, 2], [0, 3]]):
        assert find_row(PairTables(np.array(pairs), np.ones((3, 2, 2)), 4)) is None


def test_the_tabu_search_is_no_worse_than_the_descent() -> None:
    better = 0
    for seed in range(6):
        problem = dense_model(42, seed=seed, share=0.9)
        part, gram = AdditivePart(problem), problem.interaction
        assert isinstance(gram, Gram)
        first = part.plan(problem.loss, Deadline()).choice
        assert first is not None
        prices = part.bound(problem.loss).multipliers
        ends = [
            improve(problem, gram, first, prices, max_steps=500, patience=patience, deadline=Deadline()) for patience in (0, 40)
        ]
        descent, tabu = (total_loss(problem, end) for end in ends)
        assert descent <= total_loss(problem, first)
        assert tabu <= descent * (1 + 1e-12)
        assert (total_sizes(problem, ends[1]) <= problem.budgets).all()
        better += tabu < descent * (1 - 1e-9)
    assert better
