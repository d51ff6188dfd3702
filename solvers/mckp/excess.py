"""A problem and one of its budgets seen from the cheapest corner: every number counted above the best of its class."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import Floats, Integers
from solvers.problem import Problem, class_minima

TOP = 600  # binary exponent of the largest loss: nothing overflows, and no smaller loss of any use vanishes
BLOCK = 16_384  # classes of one pass: the temporaries of a block stay in the processor's cache


@dataclass(frozen=True, slots=True, eq=False)
class Excess:
    """Losses and sizes above the smallest of their class, item by item.

    Attributes:
        loss: float64 ``[K, N]``, ≥ 0 with a 0 in every class, times 2^−``exponent``; ``inf`` where forbidden.
        size: float64 ``[K, N]``, ≥ 0 where allowed (exact below 2^53; only the multiplier search reads it).
        whole: int64 ``[N, K]``, the sizes themselves, as the problem has them.
        smallest: int64 ``[N]``, smallest allowed size of each class.
        capacity: budget − Σ smallest, lowered to what whole steps of ``unit`` can reach.
        unit: greatest common divisor of the excess sizes, at least 1.
        exponent: power of two by which the losses were divided, so that the largest is near 2^``TOP``.
    """

    loss: Floats
    size: Floats
    whole: Integers
    smallest: Integers
    capacity: int
    unit: int
    exponent: int

    @property
    def classes(self) -> int:
        """N, the number of classes."""
        return int(self.loss.shape[1])


def measure_excess(problem: Problem, row: int = 0) -> Excess:
    """The excess view of one budget of a feasible problem; two passes over the arrays, for all problems of other budgets too."""
    measured = problem.recall(("excess", row), partial(_measure, row=row))
    capacity = int(problem.budgets[row]) - int(problem.smallest_sizes()[row])
    return replace(measured, capacity=capacity // measured.unit * measured.unit)


def _measure(problem: Problem, *, row: int) -> Excess:
    whole, smallest = problem.sizes[row], class_minima(problem)[row]
    exponent = _exponent(problem)
    loss, size = np.empty((problem.items, problem.classes)), np.empty((problem.items, problem.classes))
    divisor = 0
    for start in range(0, problem.classes, BLOCK):
        block = slice(start, start + BLOCK)
        lifted = np.ldexp(problem.loss[block].T, -exponent)
        np.subtract(lifted, lifted.min(axis=0), out=loss[:, block])
        above = whole[block].T - smallest[block]
        size[:, block] = above
        divisor = _divisor(divisor, above if problem.all_allowed else np.where(np.isfinite(lifted), above, 0))
    return Excess(loss, size, whole, smallest, 0, max(divisor, 1), exponent)


def _exponent(problem: Problem) -> int:
    largest = np.abs(problem.loss) if problem.all_allowed else np.abs(np.where(problem.allowed(), problem.loss, 0.0))
    return int(np.frexp(largest.max(initial=0.0))[1]) - TOP


def _divisor(divisor: int, whole: Integers) -> int:
    """Greatest common divisor of ``divisor`` and all entries; a remainder is looked for before any gcd is taken."""
    while divisor != 1:
        rest: NDArray[np.int64] = whole[whole > 0] if divisor == 0 else whole % divisor
        rest = rest[rest > 0][:1024]
        if rest.size == 0:
            break
        divisor = int(np.gcd(divisor, np.gcd.reduce(rest)))
    return divisor
