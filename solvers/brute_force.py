"""Every choice, one after the other: the judge of the other solvers."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from solvers.problem import Problem
from solvers.solution import Stats, Status
from solvers.solver import AbstractSolver, Answer, Deadline


@dataclass(frozen=True, slots=True)
class BruteForce(AbstractSolver):
    """Enumerate all K^N choices. For tests and tiny problems, with any number of budgets, side rules and an interaction.

    Attributes:
        max_choices: refuse a problem with more choices than this (each takes some 24 bytes).
    """

    takes_rules: ClassVar[bool] = True
    takes_interaction: ClassVar[bool] = True

    max_choices: int = 1_000_000

    def refusal(self, problem: Problem) -> str | None:
        """Refuses what has more than ``max_choices`` choices."""
        choices = problem.items**problem.classes
        if choices > self.max_choices:
            return f"BruteForce would try {problem.items}^{problem.classes} choices, more than {self.max_choices}; use Mckp()"
        return None

    def run(self, problem: Problem, deadline: Deadline) -> Answer:
        """The first choice of least loss among those that keep every budget."""
        loss, sizes = np.zeros(1), np.zeros((problem.budgets.shape[0], 1), dtype=np.int64)
        for i in range(problem.classes):
            cells = np.where(problem.allowed()[i], problem.sizes[:, i], 0)
            loss = (loss[:, None] + problem.loss[i]).ravel()
            sizes = (sizes[:, :, None] + cells[:, None, :]).reshape(sizes.shape[0], -1)
        weights = problem.items ** np.arange(problem.classes - 1, -1, -1, dtype=np.int64)
        numbers = np.flatnonzero(np.isfinite(loss) & (sizes <= problem.budgets[:, None]).all(axis=0))
        choices = numbers[:, None] // weights % problem.items
        loss = loss[numbers]
        if problem.interaction is not None:
            loss += problem.interaction.values(choices)
        for best in np.argsort(loss, kind="stable"):
            if all(rule.broken_by(choices[best]) is None for rule in problem.rules):
                return Answer(Status.OPTIMAL, choices[best], stats=Stats(proof="search", states=problem.items**problem.classes))
        return Answer(
            Status.INFEASIBLE, None, reason="no choice keeps all budgets and rules together; raise or loosen one of them"
        )
