"""Offspring: within every budget, of allowed items, and in a switch of exactly the parent's sizes."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers import Problem
from solvers.errors import SettingError
from solvers.evolutionary import Mutation
from solvers.evolutionary.ladders import build_ladders
from solvers.evolutionary.mutation import Neighbourhood
from solvers.evolutionary.seeds import lower_into_budgets
from solvers.problem import total_sizes
from tests.solvers.evolutionary.landscapes import several_budgets
from tests.solvers.instances import SIZES, curves, one_budget

LADDER = np.array([2, 3, 4, 6, 8]) * 64


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 3), st.sampled_from(sorted(SIZES)), st.sampled_from([0.0, 0.5, 1.0]))
def test_offspring_keep_every_budget_and_take_allowed_items(seed: int, rows: int, sizes: str, switches: float) -> None:
    problem = several_budgets(seed, rows=rows, sizes=sizes)
    parent = lower_into_budgets(problem, problem.loss.argmin(axis=1))
    if parent is None:
        return
    around = Neighbourhood(problem, build_ladders(problem), parent, Mutation(switches=switches, jump=0.5))
    random = np.random.default_rng(seed)
    for _ in range(40):
        changes = around.draw(random)
        if changes is None:
            continue
        child = parent.copy()
        child[list(changes)] = list(changes.values())
        assert (child != parent).sum() == len(changes) > 0
        assert np.isfinite(problem.loss[np.arange(problem.classes), child]).all()
        totals = [sum(int(size) for size in row[np.arange(problem.classes), child]) for row in problem.sizes]
        assert all(total <= int(budget) for total, budget in zip(totals, problem.budgets, strict=True))


@pytest.mark.parametrize("jump", [1e-6, 0.01, 0.9, 1.0])
def test_switches_leave_the_sizes_as_they_are(jump: float) -> None:
    """papers.md §18.4, on a ladder with unequal steps and two groups."""
    sizes = np.concatenate((np.tile(LADDER, (6, 1)), np.tile(3 * LADDER, (4, 1))))
    parent = np.array([2] * 6 + [1, 2, 3, 2])
    problem = one_budget(np.ones((10, 5)), sizes, int(sizes[np.arange(10), parent].sum()))
    around = Neighbourhood(problem, build_ladders(problem), parent, Mutation(switches=1.0, jump=jump))
    random, pairs = np.random.default_rng(0), Counter[int]()
    for _ in range(300):
        changes = around.draw(random)
        if changes is not None:
            child = parent.copy()
            child[list(changes)] = list(changes.values())
            assert total_sizes(problem, child).tolist() == problem.budgets.tolist()
            assert sum(sizes[i, k] - sizes[i, parent[i]] for i, k in changes.items() if i < 6) == 0
            pairs[len(changes) // 2] += 1
    assert jump > 0.5 or pairs[1] > pairs[2] > pairs[3] > 0


def test_levels_that_are_not_neighbours_are_rare_and_possible() -> None:
    problem = curves(30, 8, seed=0, share=0.9)
    parent = np.full(30, 2)
    around = Neighbourhood(problem, build_ladders(problem), parent, Mutation(switches=0.0, raises=1.0, guidance=0.0))
    random, steps = np.random.default_rng(0), Counter[int]()
    for _ in range(500):
        for item in (around.draw(random) or {}).values():
            steps[abs(item - 2)] += 1
    assert steps[1] > 2 * steps[2] > 0
    assert steps[3] > 0


def test_ladders_are_sorted_by_size_and_grouped_by_equal_tables() -> None:
    loss = np.array([[1.0, 5.0, 3.0], [1.0, 2.0, 3.0], [np.inf, 1.0, 1.0], [np.inf, 1.0, 1.0]])
    sizes = np.array([[4, 2, 2], [2, 4, 2], [9, 1, 2], [7, 2, 1]])
    ladders = build_ladders(one_budget(loss, sizes, 100))
    assert ladders.order.tolist() == [[1, 2, 0], [2, 0, 1], [1, 2, 0], [2, 1, 0]]
    assert ladders.count.tolist() == [3, 3, 2, 2]
    assert ladders.group[0] == ladders.group[1] != ladders.group[2] == ladders.group[3]
    assert ladders.shared.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30, 1e280, 0.0, -1e200])
def test_losses_of_any_scale_guide(scale: float) -> None:
    problem = curves(12, 8, seed=3)
    scaled = Problem(problem.loss * scale, problem.sizes, problem.budgets)
    ladders = build_ladders(scaled)
    parent = lower_into_budgets(scaled, np.full(12, 4))
    assert parent is not None
    around = Neighbourhood(scaled, ladders, parent, Mutation(switches=0.0, guidance=1.0))
    random = np.random.default_rng(1)
    assert sum(around.draw(random) is not None for _ in range(50)) > 25


def test_bad_settings_say_what_to_give() -> None:
    wrong: list[dict[str, float]] = [{"switches": 1.5}, {"guidance": -0.1}, {"jump": 0.0}, {"repairs": 0}, {"at_once": 2}]
    for fields in wrong:
        with pytest.raises(SettingError, match="give"):
            Mutation(**fields)  # type: ignore[arg-type]
