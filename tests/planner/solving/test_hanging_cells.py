"""Which cells to measure: the value that is claimed against brute force, and what spending by it buys."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

import solvers
from planner.build import Classes, GroupCurves
from planner.services import linked_curves
from planner.solving.hanging_cells import Beliefs, Outlook, cells_that_matter, look_ahead
from planner.solving.information import Regret, expected_regret, information_values
from planner.solving.plan import pose_problem, solve_plan
from sensitivity.links.families import Family, fit_family
from sensitivity.links.fitting import HeldOut, LinkFit
from sensitivity.links.pairs import Pairs
from tests.planner.solving.measuring import Laboratory, laboratory

tables = st.tuples(st.integers(1, 4), st.integers(1, 4)).flatmap(
    lambda shape: st.tuples(
        arrays(np.float64, shape, elements=st.floats(0, 4)), arrays(np.float64, shape, elements=st.just(0.0) | st.floats(0.05, 2))
    )
)


@pytest.fixture
def quick_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """One shape, no cross-validation: what is tested here is where cells are spent."""

    def fit(pairs: Pairs, *, same_unit: bool, seed: int) -> LinkFit:
        link = fit_family(Family.SCALE_BY_FORMAT, pairs)
        assert same_unit
        assert link is not None
        return LinkFit(link, len(pairs), 1.0, HeldOut(1.0, 0.0, 0.0), None)

    monkeypatch.setattr(linked_curves, "fit_link", fit)


@settings(max_examples=20, deadline=None)
@given(tables, st.integers(0, 100))
def test_the_value_of_a_cell_is_what_knowing_it_saves_on_average(
    table: tuple[NDArray[np.float64], NDArray[np.float64]], seed: int
) -> None:
    """At a fixed price, against draws of the cell's loss with the others as they are."""
    priced, spread = table
    found = information_values(priced, spread)
    draws = np.random.default_rng(seed).standard_normal(4_000)
    for i, k in np.ndindex(priced.shape):
        others = np.delete(priced[i], k).min(initial=np.inf)
        saved = min(priced[i, k], others) - np.minimum(priced[i, k] + spread[i, k] * draws, others)
        expected = 0.0 if priced.shape[1] == 1 else saved.mean()
        error = 0.0 if priced.shape[1] == 1 else saved.std() / np.sqrt(len(draws))
        assert abs(found[i, k] - expected) <= 5 * error + 1e-3 * spread[i, k]


def test_what_is_exact_or_forbidden_is_worth_nothing() -> None:
    priced = np.array([[1.0, 1.1, np.inf], [np.inf, 2.0, np.inf]])
    spread = np.array([[0.0, 0.5, 0.5], [0.5, 0.5, 0.5]])
    found = information_values(priced, spread)
    assert found[0, 1] > 0
    assert np.count_nonzero(found) == 1
    assert information_values(np.zeros((0, 3)), np.zeros((0, 3))).shape == (0, 3)


def _small(seed: int) -> tuple[Beliefs, int]:
    """Six layers in five formats with equal errors, at a budget between the formats."""
    lab = laboratory(seed, layers=6)
    loss = lab.cheap.loss
    variance = np.square(0.3 * loss)
    curves = GroupCurves(loss, np.sqrt(variance), ())
    return Beliefs(lab.classes, curves, np.ones(loss.shape, dtype=bool), variance), lab.budgets[0]


def _saved_by_knowing(beliefs: Beliefs, budget: int, cell: tuple[int, int]) -> float:
    """Brute force: draw the cell's loss, find the best plan of each draw, compare with keeping the plan."""
    random = np.random.default_rng(1)
    kept = solvers.solve(pose_problem(beliefs.classes, beliefs.curves, budget), solvers.BruteForce())
    saved = []
    for _ in range(8):
        loss = beliefs.curves.loss.copy()
        loss[cell] += beliefs.spread[cell] * random.standard_normal()
        problem = pose_problem(beliefs.classes, GroupCurves(loss, beliefs.curves.standard_error, ()), budget)
        best = solvers.solve(problem, solvers.Mckp())
        saved.append(loss[np.arange(len(loss)), kept.choice].sum() - best.loss)
    return float(np.mean(saved))


def test_the_cells_of_most_value_are_those_of_brute_force_within_the_budget() -> None:
    """The claim is at the budget's price; within the budget itself, whole formats must be exchanged."""
    agreements = []
    for seed in range(3):
        beliefs, budget = _small(seed)
        outlook = Outlook(solve_plan(beliefs.classes, beliefs.curves, budget, deadline=5), Regret(0, 0))
        five = cells_that_matter(beliefs, [outlook], 5)
        brute = np.array([_saved_by_knowing(beliefs, budget, cell) for cell in np.ndindex(five.shape)]).reshape(five.shape)
        agreements.append(brute[five].sum() / np.sort(brute, axis=None)[-5:].sum())
    assert np.mean(agreements) > 0.6


def test_the_regret_of_one_choice_is_that_of_two_normal_losses() -> None:
    """Two formats of one size: the expected regret of the better one is σφ(m/σ) − mΦ(−m/σ)."""
    lab = laboratory(0, layers=1)
    sizes = np.array([[100, 100]])
    classes = Classes(lab.classes.layers, lab.classes.formats[:2], ((0,),), sizes, np.ones((1, 2), dtype=bool))
    curves = GroupCurves(np.array([[1.0, 1.2]]), np.zeros((1, 2)), ())
    spread = np.array([[0.3, 0.4]])
    solved = solve_plan(classes, curves, 100, deadline=5)
    found = expected_regret(classes, curves, solved, spread, seed=0, draws=400)
    expected = information_values(np.array([[1.0, 1.2]]), np.array([[0.5, 0.0]]))[0, 0]
    assert abs(found.mean - expected) < 4 * found.standard_error
    assert expected_regret(classes, curves, solved, np.zeros((1, 2)), seed=0) == Regret(0.0, 0.0)


def test_tied_layers_are_measured_together_and_never_beyond_the_count() -> None:
    lab = laboratory(1, layers=8)
    groups = ((0, 1, 2, 3), (4,), (5,), (6,), (7,))
    merged = [lab.classes.sizes[list(group)].sum(axis=0) for group in groups]
    classes = Classes(lab.classes.layers, lab.classes.formats, groups, np.array(merged), np.ones((5, 5), dtype=bool))
    loss = np.array([lab.true[list(group)].sum(axis=0) for group in groups])
    variance = np.square(0.3 * lab.true)
    beliefs = Beliefs(classes, GroupCurves(loss, 0.3 * loss, ()), np.ones((8, 5), dtype=bool), variance)
    outlooks = look_ahead(beliefs, lab.budgets, seed=0, deadline=5)
    chosen = cells_that_matter(beliefs, outlooks, 9)
    assert chosen.sum() == 9
    whole = cells_that_matter(beliefs, outlooks, 40)
    assert all(len(set(column)) == 1 for column in whole[:4].T.tolist())
    exact = Beliefs(classes, beliefs.curves, np.zeros((8, 5), dtype=bool), np.zeros((8, 5)))
    assert not cells_that_matter(exact, look_ahead(exact, lab.budgets, seed=0, deadline=5), 9).any()


def _at_random(lab: Laboratory, first: NDArray[np.bool_], count: int, seed: int) -> NDArray[np.bool_]:
    measured = first.copy().ravel()
    left = np.flatnonzero(~measured)
    measured[np.random.default_rng(seed).choice(left, count - int(first.sum()), replace=False)] = True
    return measured.reshape(lab.shape)


@pytest.mark.usefixtures("quick_links")
def test_cells_spent_where_plans_hang_on_them_buy_more_than_cells_at_random() -> None:
    """In truth, not as predicted; and what the plan may lose is known about right."""
    adaptive, random, claimed = [], [], []
    for seed in range(5):
        lab = laboratory(seed)
        first = lab.sample(20, seed=seed)
        spent = lab.adapt(first, 60, batch=20)
        assert spent.sum() == 60
        assert (spent & first).sum() == 20
        _, outlooks = lab.look(spent)
        adaptive.append(lab.excess(outlooks))
        claimed.append([outlook.relative_regret for outlook in outlooks])
        random.append(lab.excess(lab.look(_at_random(lab, first, 60, seed))[1]))
    assert np.mean(adaptive) < 0.6 * np.mean(random)
    assert 0.3 < np.mean(claimed) / np.mean(adaptive) < 3


@pytest.mark.usefixtures("quick_links")
def test_it_ends_when_nothing_is_left_to_gain() -> None:
    lab = laboratory(3, layers=12)
    measured = lab.adapt(lab.sample(20, seed=0), 60, batch=20)
    beliefs, outlooks = lab.look(measured)
    assert 20 < measured.sum() < 60  # some cells are worth nothing, whatever their number is
    assert not cells_that_matter(beliefs, outlooks, 10).any()
    assert [outlook.regret.mean for outlook in outlooks] == pytest.approx([0, 0], abs=1e-9)
    assert lab.excess(outlooks) == pytest.approx([0, 0], abs=1e-9)
