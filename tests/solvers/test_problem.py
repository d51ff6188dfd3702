"""What is and what is no problem."""

from typing import Any

import numpy as np
import pytest

import solvers
from solvers import NoAllowedItemError, Problem, ProblemError
from tests.solvers.instances import one_budget

GOOD: dict[str, Any] = {"loss": np.zeros((2, 3)), "sizes": np.ones((1, 2, 3), dtype=np.int64), "budgets": np.array([5])}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": np.zeros(3)}, r"shape \(3,\); give it as \(N, K\)"),
        ({"loss": [["a", "b", "c"]] * 2}, "array of numbers"),
        ({"loss": np.array([[0, 1, 2], [3, np.nan, 4]])}, "class 1, item 1 is NaN"),
        ({"loss": np.array([[0, -np.inf, 2], [3, 4, 4]])}, "class 0, item 1 is -inf"),
        ({"loss": np.full((2, 3), 1e308)}, "scale them down"),
        ({"sizes": np.ones((2, 3), dtype=np.int64)}, r"\(1, 2, 3\) = \(budgets, classes, items\)"),
        ({"sizes": np.ones((1, 2, 3))}, "whole numbers"),
        ({"sizes": np.array([[[1, 2, 3], [4, -5, 6]]])}, "class 1, item 1 in row 0 is -5"),
        ({"sizes": np.full((1, 2, 3), 2**62 + 1)}, "passes int64"),
        ({"sizes": np.full((1, 2, 3), 2**63, dtype=np.uint64)}, "past int64"),
        ({"budgets": np.array([1.5])}, "whole numbers"),
        ({"budgets": [2**70]}, "within int64"),
        ({"budgets": np.array(5)}, "one whole number a row"),
        ({"budgets": np.array([5, 6])}, r"\(2, 2, 3\)"),
        ({"budgets": np.empty(0, dtype=np.int64)}, "at least one"),
    ],
)
def test_refuses_with_a_reason(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        Problem(**(GOOD | change))


def test_a_class_without_an_allowed_item_is_named() -> None:
    with pytest.raises(NoAllowedItemError, match="class 1 may take none of its 3 items"):
        Problem(**(GOOD | {"loss": np.array([[0.0, 1.0, 2.0], [np.inf] * 3])}))
    with pytest.raises(NoAllowedItemError, match="2 classes without an item"):
        Problem(np.empty((2, 0)), np.empty((1, 2, 0), dtype=np.int64), np.array([1]))


def test_arrays_are_private_and_read_only() -> None:
    loss, sizes, budgets = np.zeros((2, 3)), np.ones((1, 2, 3), dtype=np.int64), np.array([5])
    problem = Problem(loss, sizes, budgets)
    loss[0, 0], sizes[0, 0, 0], budgets[0] = 9.0, 9, 9
    assert (problem.loss[0, 0], problem.sizes[0, 0, 0], problem.budgets[0]) == (0.0, 1, 5)
    for array in (problem.loss, problem.sizes, problem.budgets):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_sizes_of_forbidden_items_are_not_read() -> None:
    problem = one_budget(np.array([[1.0, np.inf], [1.0, np.inf]]), np.array([[3, 2**63 - 1], [3, 0]]), 6)
    assert problem.smallest_sizes().tolist() == [6]


def test_largest_totals_that_int64_holds_are_fine() -> None:
    problem = one_budget(np.zeros((2, 1)), np.array([[2**62], [2**62 - 1]]), 2**63 - 1)
    assert problem.smallest_sizes().tolist() == [2**63 - 1]
    assert solvers.solve(problem, solvers.Mckp()).sizes.tolist() == [2**63 - 1]


def test_public_names_are_what_is_importable() -> None:
    for name in solvers.__all__:
        assert getattr(solvers, name).__module__.startswith("solvers.")


def test_losses_whose_prices_would_overflow_are_refused() -> None:
    with pytest.raises(ProblemError, match="write inf to forbid an item"):
        Problem(**(GOOD | {"loss": np.array([[0.0, 1.0, 2.0], [0.0, 1.0, 1e300]])}))
    Problem(**(GOOD | {"loss": np.full((2, 3), 1e285)}))


def test_the_tree_of_errors_is_drawn_whole() -> None:
    def below(kind: type[solvers.SolverError]) -> set[str]:
        own = [child for child in kind.__subclasses__() if child.__module__.startswith("solvers.")]
        return {kind.__name__}.union(*map(below, own))

    assert solvers.errors.__doc__ is not None
    assert all(name in solvers.errors.__doc__ and name in solvers.__all__ for name in below(solvers.SolverError))


def test_complex_losses_are_refused() -> None:
    with pytest.raises(ProblemError, match="real numbers"):
        Problem(**(GOOD | {"loss": np.zeros((2, 3), dtype=complex)}))
