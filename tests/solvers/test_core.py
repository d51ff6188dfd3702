"""Bundles of classes that have one move of the same size: the same optimum as move by move, from fewer partial choices."""

import numpy as np
import pytest

import solvers
from solvers.mckp import core
from solvers.mckp.core import gather_core
from solvers.mckp.moves import Corner, Moves
from tests.solvers.instances import LOSSES, curves, tiny_problem


def _move_by_move(problem: solvers.Problem, monkeypatch: pytest.MonkeyPatch) -> solvers.Solution:
    with monkeypatch.context() as patched:
        patched.setattr(core, "LONGEST", 1)
        return solvers.solve(problem, solvers.Mckp(max_nodes=0))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.8])
def test_bundles_end_where_single_moves_do(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    states = []
    for seed in range(8):
        problem = curves(224, 8, seed=seed, share=share, equal_sizes=True)
        single, bundled = _move_by_move(problem, monkeypatch), solvers.solve(problem, solvers.Mckp(max_nodes=0))
        assert bundled.choice.tolist() == single.choice.tolist()
        assert (bundled.status, bundled.loss, bundled.lower_bound) == (single.status, single.loss, single.lower_bound)
        assert bundled.stats.core_classes <= bundled.stats.core_items <= single.stats.core_items
        states.append((bundled.stats.states, single.stats.states))
    assert sum(bundled for bundled, _ in states) <= sum(single for _, single in states)


def test_bundles_of_tiny_problems_are_optimal() -> None:
    for seed in range(40):
        for losses in LOSSES:
            problem = tiny_problem(seed, losses=losses, sizes="bits", forbid=seed % 2 == 1)
            found, judge = (solvers.solve(problem, solver) for solver in (solvers.Mckp(max_nodes=0), solvers.BruteForce()))
            assert found.status is judge.status
            assert found.loss == pytest.approx(judge.loss, rel=1e-12)


def _moves(*given: tuple[int, float, int]) -> Moves:
    klass, cost, size = zip(*given, strict=True)
    return Moves(np.array(klass), np.zeros(len(given), dtype=np.int64), np.array(cost), np.array(size))


def test_a_bundle_takes_its_cheapest_moves_first_and_stops_at_the_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    moves = _moves((0, 3.0, 8), (1, 1.0, 8), (2, 2.0, 8), (3, 0.5, -8), (4, 6.5, 8), (5, 1.0, 4), (5, 2.0, 12), (6, 1.0, 0))
    corner = Corner(np.zeros(7, dtype=np.int64), 1.0, 0.0, 5)
    found = gather_core(corner, moves, 6.0)
    assert list(found.runs()) == [(0, [(-8, 0.5)]), (1, [(8, 1.0), (16, 3.0)]), (3, [(12, 2.0), (4, 1.0)])]
    made = [found.made_by(np.array([option])).klass.tolist() for option in range(5)]
    assert made == [[3], [1], [1, 2], [5], [5]]
    assert (found.classes, found.moves.count, found.count) == (4, 5, 3)
    assert found.down == [0.0625, np.inf, np.inf, np.inf]
    assert found.up == [0.125, 0.125, pytest.approx(1 / 6), np.inf]
    monkeypatch.setattr(core, "LONGEST", 1)
    assert sorted(gather_core(corner, moves, 6.0).options) == [(-8, 0.5), (4, 1.0), (8, 1.0), (8, 2.0), (8, 3.0), (12, 2.0)]


def test_moves_that_cost_nothing_are_not_one_long_run() -> None:
    moves = _moves(*((klass, 0.0, 8) for klass in range(100)))
    found = gather_core(Corner(np.zeros(100, dtype=np.int64), 1.0, 0.0, 5), moves, 5.0)
    assert [len(options) for _, options in found.runs()] == [16] * 6 + [4]
    assert found.made_by(np.array([15, 31])).klass.tolist() == list(range(32))


def test_a_core_without_moves() -> None:
    found = gather_core(Corner(np.zeros(1, dtype=np.int64), 1.0, 0.0, 5), _moves((0, 9.0, 8)), 5.0)
    assert (found.count, found.cheapest, found.moves.count) == (0, [np.inf], 0)
