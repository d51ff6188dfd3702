"""Bisection of measured losses: the answer of a full scan where they fall, honest where they do not."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers import Mckp, MeasurementError
from solvers.arrays import Integers
from solvers.bisection import (
    Bisection,
    BisectionResult,
    BisectionStatus,
    lower_least_sensitive,
    solved_family,
)
from solvers.errors import SettingError
from tests.solvers.instances import curves

LOSSES = st.lists(st.floats(-3, 3), min_size=1, max_size=40)


def family_of(count: int) -> list[Integers]:
    return [np.array([t, 7]) for t in range(count)]


def table(losses: list[float]) -> Callable[[Integers], float]:
    return lambda choice: losses[int(choice[0])]


def searched(losses: list[float], limit: float, **fields: float) -> BisectionResult:
    return Bisection(limit, **fields).search(family_of(len(losses)), table(losses))  # type: ignore[arg-type]


@given(LOSSES, st.floats(-3, 3))
def test_falling_losses_give_what_a_full_scan_gives(losses: list[float], limit: float) -> None:
    losses = sorted(losses, reverse=True)
    result = searched(losses, limit, verify=0)
    feasible = [t for t, loss in enumerate(losses) if loss <= limit]
    assert result.position == min(feasible, default=None)
    assert len(result.evaluations) <= math.ceil(math.log2(len(losses) + 1))
    if result.position is None:
        assert result.status is BisectionStatus.NONE_FEASIBLE
        assert result.best_loss == losses[-1]
        assert result.largest_infeasible == len(losses) - 1
    elif result.position == 0:
        assert result.status is BisectionStatus.ALL_FEASIBLE
        assert result.largest_infeasible is None
    else:
        assert (result.status, result.largest_infeasible) == (BisectionStatus.FOUND, result.position - 1)


@given(LOSSES, st.floats(-3, 3), st.integers(0, 4), st.none() | st.integers(1, 12))
def test_any_losses_give_the_best_feasible_plan_that_was_measured(
    losses: list[float], limit: float, verify: int, most: int | None
) -> None:
    asked: list[int] = []

    def measure(choice: Integers) -> float:
        asked.append(int(choice[0]))
        return losses[int(choice[0])]

    result = Bisection(limit, verify=verify, evaluations=most).search(family_of(len(losses)), measure)
    assert len(set(asked)) == len(asked)
    assert [(evaluation.position, evaluation.loss) for evaluation in result.evaluations] == [(t, losses[t]) for t in asked]
    assert most is None or len(asked) <= most
    feasible = [t for t in asked if losses[t] <= limit]
    assert result.position == min(feasible, default=None)
    if result.position is None:
        assert result.status in (BisectionStatus.NONE_FEASIBLE, BisectionStatus.LIMIT)
        return
    assert result.choice is not None
    assert result.evaluation is not None
    assert result.evaluation.loss == losses[result.position] == losses[int(result.choice[0])]
    if result.status is BisectionStatus.FOUND:
        assert set(range(max(result.position - verify, 0), result.position)) <= set(asked)


@pytest.mark.parametrize("verify", [1, 2, 3])
def test_a_dip_below_the_bracket_is_found_and_looked_below_again(verify: int) -> None:
    losses = [9.0] * 16 + [0.0] * 16
    assert searched(losses, 1.0, verify=verify).position == 16
    for dip in (14, 13, 12):
        losses[dip] = 0.5
    assert searched(losses, 1.0, verify=0).position == 16
    assert searched(losses, 1.0, verify=verify).position == 12


def test_nothing_feasible_looks_below_the_top_too() -> None:
    result = searched([9.0, 9.0, 0.5, 9.0, 9.0], 1.0)
    assert result.position == 2
    assert searched([9.0, math.nan, 5.0], 1.0).best_loss == 5.0


def test_nan_and_infinite_losses_never_keep_a_limit() -> None:
    result = searched([math.nan] * 5, math.inf)
    assert (result.status, result.best_loss, result.choice) == (BisectionStatus.NONE_FEASIBLE, math.inf, None)
    assert "raise it" in result.status.advice
    assert searched([math.inf, 1.0], math.inf).position == 1
    with pytest.raises(MeasurementError, match="return the loss"):
        Bisection(1.0).search(family_of(3), lambda _: "much")  # type: ignore[arg-type, return-value]
    with pytest.raises(MeasurementError, match="cannot be negative"):
        Bisection(1.0).search(family_of(3), lambda _: (1.0, -0.1))


def test_a_margin_of_standard_errors_asks_for_more() -> None:
    def measure(choice: Integers) -> tuple[float, float]:
        return 10.0 - int(choice[0]), 0.75 if int(choice[0]) != 9 else math.nan

    positions = [Bisection(5.0, margin=margin).search(family_of(10), measure).position for margin in (0.0, 1.0, 2.0)]
    assert positions == [5, 6, 7]
    assert Bisection(1.5, margin=0.0, verify=0).search(family_of(10), measure).position is None


def test_equal_plans_are_measured_once() -> None:
    calls: list[Integers] = []

    def measure(choice: Integers) -> float:
        calls.append(choice)
        return 3.0 - float(choice[0])

    result = Bisection(1.0).search(lambda t: np.array([t // 100]), measure, count=400)
    assert (result.position, len(calls)) == (200, 3)


def test_budgets_of_a_problem_make_a_family() -> None:
    problem = curves(24, 8, seed=1)
    low, high = int(problem.smallest_sizes()[0]), int(problem.sizes[0].max(axis=1).sum())
    budgets = np.linspace(low, high, 200).astype(int).tolist()
    family = solved_family(problem, Mckp(), budgets)
    rows = np.arange(24)
    limit = 0.3 * float(problem.loss[:, 0].sum())
    result = Bisection(limit).search(family, lambda choice: float(problem.loss[rows, choice].sum()), count=200)
    scan = next(t for t in range(200) if problem.loss[rows, family(t)].sum() <= limit)
    assert result.position == scan
    assert len(result.evaluations) <= 10
    with pytest.raises(SettingError, match="leave it out"):
        solved_family(problem, Mckp(), [low - 1])(0)
    with pytest.raises(SettingError, match="sort them"):
        solved_family(problem, Mckp(), [2, 1])


@settings(max_examples=60)
@given(st.integers(1, 30), st.integers(1, 4), st.floats(0.0, 1.2), st.integers(0, 2**32 - 1))
def test_lowering_takes_as_many_as_the_limit_allows(classes: int, levels: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sensitivity = rng.exponential(size=classes)
    order = np.argsort(sensitivity)
    losses = sensitivity[:, None] * np.array([4.0**-b for b in range(levels + 1)])  # item = level; the last one is the start
    rows = np.arange(classes)
    start = np.full(classes, levels)
    limit = float(losses[:, -1].sum() + share * (losses[:, 0] - losses[:, -1]).sum()) * (1 + 1e-12)

    def measure(choice: Integers) -> float:
        return float(losses[rows, choice].sum())

    tables = [np.full(classes, level) for level in range(levels)]
    result = lower_least_sensitive(Bisection(limit, verify=0), start, order.tolist(), tables, measure)
    assert result.status is BisectionStatus.FOUND
    expected, at = start.copy(), 0
    for level in range(levels):
        while at < classes:
            tried = expected.copy()
            tried[order[at]] = level
            if measure(tried) > limit:
                break
            expected, at = tried, at + 1
    assert result.choice is not None
    assert result.choice.tolist() == expected.tolist()
    assert list(result.lowered) == [int((expected == level).sum()) for level in range(levels)]
    assert len(result.evaluations) <= levels * math.ceil(math.log2(classes + 2))


def test_lowering_says_when_the_start_is_too_much_or_measurements_run_out() -> None:
    start, levels = np.full(8, 1), [np.zeros(8, dtype=np.int64)]
    nothing = lower_least_sensitive(Bisection(-1.0), start, range(8), levels, lambda choice: float(8 - choice.sum()))
    assert (nothing.status, nothing.choice, nothing.lowered) == (BisectionStatus.NONE_FEASIBLE, None, (0,))
    short = lower_least_sensitive(Bisection(4.0, evaluations=2), start, range(8), levels, lambda choice: float(8 - choice.sum()))
    assert short.status is BisectionStatus.LIMIT
    assert len(short.evaluations) == 2
    with pytest.raises(SettingError, match="once at most"):
        lower_least_sensitive(Bisection(1.0), start, [0, 0], levels, lambda _: 0.0)
    with pytest.raises(SettingError, match="one item for each"):
        lower_least_sensitive(Bisection(1.0), start, [0], [np.zeros(3, dtype=np.int64)], lambda _: 0.0)


def test_bad_settings_say_what_to_give() -> None:
    wrong: list[dict[str, float]] = [{"limit": math.nan}, {"margin": -1.0}, {"verify": -1}, {"evaluations": 0}]
    for fields in wrong:
        with pytest.raises(SettingError, match="give"):
            Bisection(**{"limit": 1.0, **fields})  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="how many plans"):
        Bisection(1.0).search(lambda t: np.array([t]), lambda _: 0.0)
    with pytest.raises(SettingError, match="no plan"):
        Bisection(1.0).search([], lambda _: 0.0)
