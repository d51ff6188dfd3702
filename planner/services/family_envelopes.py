"""Which of several models is best at every budget, and from which byte on another one is."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

BestAt = Callable[[int], int]
"""Budget → index of the best model."""


@dataclass(frozen=True, slots=True)
class Change:
    """Neighbouring budgets with different best models.

    Attributes:
        below: the larger one of the budgets at which ``worse`` is best.
        above: the smaller one of those at which ``better`` is; ``below + 1`` unless the search was stopped.
        worse: index of the model that is best at ``below``.
        better: index of the one that is best at ``above``.
    """

    below: int
    above: int
    worse: int
    better: int


def changes(budgets: Sequence[int], best: BestAt, *, go_on: Callable[[], bool]) -> list[Change]:
    """Where the best model changes between the first budget and the last.

    Between two budgets with different best models the change is bisected to neighbouring bytes; a third model that is best in
    between is found if the bisection meets it. Changes back and forth between two given budgets are not looked for.

    Args:
        budgets: rising.
        best: of each budget.
        go_on: whether there is time left; without it the brackets are answered as they are.
    """
    return [change for low, high in pairwise(budgets) for change in _between(low, high, best, go_on)]


def _between(low: int, high: int, best: BestAt, go_on: Callable[[], bool]) -> Iterator[Change]:
    worse, better = best(low), best(high)
    while worse != better and high - low > 1 and go_on():
        middle = (low + high) // 2
        found = best(middle)
        if found == worse:
            low = middle
        elif found == better:
            high = middle
        else:
            yield from _between(low, middle, best, go_on)
            low, worse = middle, found
    if worse != better:
        yield Change(low, high, worse, better)
