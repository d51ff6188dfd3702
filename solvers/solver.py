"""The port that every solver implements, and what it returns to the driver."""

import math
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from solvers.errors import SettingError
from solvers.problem import Floats, Integers, Problem
from solvers.solution import Stats, Status


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment of the monotonic clock after which a solver hands in its incumbent."""

    moment: float = math.inf

    @classmethod
    def after(cls, seconds: float | None) -> "Deadline":
        """The moment ``seconds`` from now; ``None`` is never.

        Raises:
            SettingError: negative or NaN seconds.
        """
        if seconds is None:
            return cls()
        if not seconds >= 0:
            msg = f"a deadline of {seconds} seconds cannot be kept; give zero or more, or None for no deadline"
            raise SettingError(msg)
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds left, never negative; ``inf`` without a deadline."""
        return max(self.moment - time.monotonic(), 0.0) if self.moment < math.inf else math.inf

    def passed(self) -> bool:
        """No time is left."""
        return self.moment < math.inf and time.monotonic() >= self.moment


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a solver says; the driver believes none of it unchecked.

    Attributes:
        status: the claim. OPTIMAL needs an exhausted search or a closed bound.
        choice: int64 ``[N]``, or ``None`` when the solver found nothing.
        multipliers: float64 ``[R]``, not negative; ``None`` stands for zeros.
        stats: counters and the kind of proof; the driver fills in the rest.
        reason: one sentence when there is no choice.
        rule_multipliers: float64, not negative, one for each linear row of the side rules; ``None`` stands for zeros.
        certificate: float64, what the interaction makes its minorant of; ``None`` where there is no interaction.
    """

    status: Status
    choice: Integers | None
    multipliers: Floats | None = None
    stats: Stats = field(default_factory=Stats)
    reason: str = ""
    rule_multipliers: Floats | None = None
    certificate: Floats | None = None


class AbstractSolver(ABC):
    """A solver is an immutable value: its fields are its hyper-parameters, and it keeps nothing between runs.

    Use it through ``solvers.solve``, which checks whatever it says.

    Attributes:
        takes_rules: solves problems with side rules.
        takes_interaction: solves problems with an interaction.
    """

    __slots__ = ()

    takes_rules: ClassVar[bool] = False
    takes_interaction: ClassVar[bool] = False

    @abstractmethod
    def run(self, problem: Problem, deadline: Deadline) -> Answer:
        """Solve a problem that is feasible row by row; past the deadline hand in the incumbent."""

    def refusal(self, problem: Problem) -> str | None:
        """Why this solver does not take the problem and which one does; ``None`` when it takes it."""
        if problem.budgets.shape[0] > 1:
            return f"{type(self).__name__} keeps one budget, not {problem.budgets.shape[0]}; use a solver for several budgets"
        return None


def no_multipliers(problem: Problem) -> Floats:
    """Zeros, float64 ``[R]``: the bound Σ_i min_k loss."""
    return np.zeros(problem.budgets.shape[0])
