"""The smallest plan of a greatest loss, beside brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import solvers
from planner.build import GroupCurves
from planner.errors import CountConflictError, InvalidRequestError, LossBelowFloorError, UnsolvedError
from planner.solving import Row, Smallest, Solved, smallest_plan, solve_plan, uniform_choice
from planner.solving.smallest import size_step
from tests.planner.solving.instances import assignments, loss_of, noisy, size_of, tied

CLASSES = tied()
CHOICES = list(assignments(CLASSES))


def smallest(curves: GroupCurves, most_loss: float, rows: tuple[Row, ...] = (), *, deadline: float | None = None) -> Smallest:
    def solve(bits: int, seconds: float | None) -> Solved:
        return solve_plan(CLASSES, curves, bits, deadline=seconds, rows=rows)

    stop = solvers.Deadline.after(deadline)
    return smallest_plan(CLASSES, curves, most_loss, CLASSES.largest_bits, solve, stop)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 80), st.booleans())
def test_no_smaller_plan_keeps_the_loss(seed: int, rank: int, limited: bool) -> None:
    curves = noisy(CLASSES, seed)
    table = np.random.default_rng(seed).integers(0, 100, CLASSES.legal.shape)
    row = Row("random", table, int(table.max(axis=1).sum() * 0.7))
    rows = (row,) if limited else ()
    kept = [choice for choice in CHOICES if all(row.taken(choice) <= row.limit for row in rows)]
    if not kept:
        with pytest.raises(CountConflictError):
            smallest(curves, 1.0, rows)
        return
    losses = sorted(loss_of(curves, choice) for choice in kept)
    most_loss = losses[rank % len(losses)] * (1 + 1e-12)
    found = smallest(curves, most_loss, rows)
    least = min(size_of(CLASSES, choice) for choice in kept if loss_of(curves, choice) <= most_loss)
    assert found.is_proven
    assert found.solved.size_bits == found.solved.budget_bits == found.least_bits == least
    assert found.solved.proved.loss <= most_loss
    assert all(row.taken(found.solved.proved.choice) <= row.limit for row in rows)


def test_a_loss_that_no_plan_keeps_is_refused_with_the_least() -> None:
    curves = noisy(CLASSES, 1)
    least = min(loss_of(curves, choice) for choice in CHOICES)
    with pytest.raises(LossBelowFloorError, match="no plan loses") as error:
        smallest(curves, least * 0.99)
    assert error.value.fields["smallest_feasible"] == pytest.approx(least)
    assert smallest(curves, least * (1 + 1e-12)).solved.proved.loss == pytest.approx(least)


def test_any_loss_gives_the_smallest_assignment() -> None:
    found = smallest(noisy(CLASSES, 2), 1e9)
    assert found.solved.size_bits == CLASSES.smallest_bits == found.least_bits


def test_past_the_deadline_a_bracket_is_left() -> None:
    curves = noisy(CLASSES, 3)
    found = smallest(curves, 1e9, deadline=0.0)
    assert not found.is_proven
    assert found.least_bits == CLASSES.smallest_bits < found.solved.size_bits
    assert found.solves == 1


@pytest.mark.parametrize("lasts", [1, 2, 3, 4])
def test_a_step_without_an_answer_keeps_the_best_plan_so_far(lasts: int) -> None:
    """As a solver that runs out of time: what was found is kept, and nothing is called proven that is not."""
    curves = noisy(CLASSES, 3)
    most_loss = sorted(loss_of(curves, choice) for choice in CHOICES)[20] * (1 + 1e-12)
    given: list[float | None] = []

    def solve(bits: int, seconds: float | None) -> Solved:
        given.append(seconds)
        if len(given) > lasts:
            msg = "the solver found no plan (limit)"
            raise UnsolvedError(msg)
        return solve_plan(CLASSES, curves, bits, deadline=None)

    found = smallest_plan(CLASSES, curves, most_loss, CLASSES.largest_bits, solve, solvers.Deadline.after(60.0))
    least = min(size_of(CLASSES, choice) for choice in CHOICES if loss_of(curves, choice) <= most_loss)
    assert found.solved.proved.loss <= most_loss
    assert found.least_bits <= least <= found.solved.size_bits
    assert found.solves == len(given)
    assert given[0] is None
    assert all(seconds is not None and 0 <= seconds <= 60 for seconds in given[1:])


def test_a_question_that_is_wrong_is_no_lack_of_time() -> None:
    def solve(bits: int, seconds: float | None) -> Solved:
        if seconds is not None:
            msg = "more than plans can count"
            raise InvalidRequestError(msg)
        return solve_plan(CLASSES, noisy(CLASSES, 3), bits, deadline=None)

    with pytest.raises(InvalidRequestError):
        smallest_plan(CLASSES, noisy(CLASSES, 3), 1e9, CLASSES.largest_bits, solve, solvers.Deadline.after(60.0))


def test_sizes_lie_on_steps() -> None:
    step = size_step(CLASSES, noisy(CLASSES, 4))
    assert step > 1
    assert {(size_of(CLASSES, choice) - CLASSES.smallest_bits) % step for choice in CHOICES} == {0}


def test_the_smallest_uniform_keeps_the_loss_too() -> None:
    curves = noisy(CLASSES, 5)
    losses = curves.loss.sum(axis=0)
    for column, most in enumerate(losses.tolist()):
        choice = uniform_choice(CLASSES, curves, CLASSES.largest_bits, most_loss=most)
        assert choice is not None
        fitting = [k for k in range(len(losses)) if losses[k] <= most]
        assert set(choice.tolist()) == {min(fitting, key=lambda k: int(CLASSES.sizes[:, k].sum()))}
        assert column in fitting
    errors = np.sqrt(np.square(curves.standard_error).sum(axis=0))
    for column, most in enumerate((losses + 3 * errors).tolist()):
        choice = uniform_choice(CLASSES, curves, CLASSES.largest_bits, most_loss=most * (1 + 1e-12), caution=3.0)
        assert choice is not None
        cautious = [k for k in range(len(losses)) if losses[k] + 3 * errors[k] <= most * (1 + 1e-12)]
        assert set(choice.tolist()) == {min(cautious, key=lambda k: int(CLASSES.sizes[:, k].sum()))}
        assert column in cautious
    assert uniform_choice(CLASSES, curves, CLASSES.smallest_bits - 1) is None
    parts = [np.array([0, 1]), np.array([2, 3])]
    mixed = uniform_choice(CLASSES, curves, CLASSES.largest_bits * 2 // 3, parts=parts)
    assert mixed is not None
    assert mixed[0] == mixed[1]
    assert mixed[2] == mixed[3]
    assert size_of(CLASSES, mixed) <= CLASSES.largest_bits * 2 // 3
