"""Classes held to some of their items: a problem that every solver takes."""

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from solvers.errors import ProblemError
from solvers.problem import Problem


def pinned(problem: Problem, pins: Mapping[int, Collection[int]]) -> Problem:
    """The same problem with some classes held to some of their items: the losses of the others become ``inf``.

    Args:
        problem: any; its sizes, budgets, rules and interaction stay.
        pins: class to the items that it may still take.

    Raises:
        ProblemError: a class or an item that does not exist.
        NoAllowedItemError: a class held to items that were forbidden, or to none.
    """
    loss = problem.loss.copy()
    for klass, items in pins.items():
        if not 0 <= klass < problem.classes or not all(0 <= item < problem.items for item in items):
            msg = f"class {klass} cannot be held to items {list(items)}: the problem has shape {problem.loss.shape}"
            raise ProblemError(msg)
        others = np.ones(problem.items, dtype=bool)
        others[list(items)] = False
        loss[klass, others] = np.inf
    return replace(problem, loss=loss)
