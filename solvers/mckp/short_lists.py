"""A run more for a list of few partial choices, number by number.

Where the core is easy the list of ``solvers.mckp.list_search`` holds a handful of states, and the thirty calls of NumPy for each
run take several times as long as their arithmetic. The numbers, their order and every comparison are the same as there.
"""

from collections.abc import Sequence
from math import inf
from typing import Final

from solvers.mckp.core import Option
from solvers.mckp.moves import Corner
from solvers.mckp.tracing import Step

SHORT: Final = 64
"""Candidates of one run, before any is dropped, up to which numbers one by one are faster than arrays."""


def extend_short(
    size: Sequence[int],
    cost: Sequence[float],
    options: Sequence[Option],
    start: int,
    *,
    corner: Corner,
    gap: float,
    rates: tuple[float, float],
) -> tuple[list[int], list[float], Step]:
    """All states of one run more that may still matter, by size, their loss falling strictly.

    Args:
        size: of each state so far, ascending.
        cost: of each state so far.
        options: of the run.
        start: number of the first of them in the core.
        corner: the LP choice.
        gap: of the incumbent; a state whose bound reaches it is dropped.
        rates: least cost of a unit that is given back and of one that is taken, in the runs that remain.
    """
    multiplier, least = corner.multiplier, inf
    sizes: list[int] = []
    costs: list[float] = []
    origins: list[int] = []
    for new_size, origin, new_cost in _candidates(size, cost, options, slack=corner.slack, gap=gap, rates=rates):
        loss = new_cost - multiplier * new_size
        if loss < least:
            least = loss
            if sizes and sizes[-1] == new_size:
                costs[-1], origins[-1] = new_cost, origin
            else:
                sizes.append(new_size)
                costs.append(new_cost)
                origins.append(origin)
    return sizes, costs, Step(origins, len(size), start)


def extend_by_one(
    size: Sequence[int],
    cost: Sequence[float],
    option: Option,
    start: int,
    *,
    corner: Corner,
    gap: float,
    rates: tuple[float, float],
) -> tuple[list[int], list[float], Step]:
    """The same for a run of one option: the states without and with it are by size already, and are merged."""
    (more, price), multiplier, slack, least = option, corner.multiplier, corner.slack, inf
    down, up = rates[0], -rates[1]
    sizes: list[int] = []
    costs: list[float] = []
    origins: list[int] = []
    count = len(size)
    old = new = 0
    old_size, moved_size = size[0], size[0] + more
    end = size[-1] + abs(more) + 1  # behind all states
    while old < count or new < count:
        if old_size <= moved_size:
            here, spent, origin = old_size, cost[old], old
            old += 1
            old_size = size[old] if old < count else end
        else:
            here, spent, origin = moved_size, cost[new] + price, count + new
            new += 1
            moved_size = size[new] + more if new < count else end
        over = here - slack
        if (over * down if over > 0 else over * up) + spent < gap and (loss := spent - multiplier * here) < least:
            least = loss
            if sizes and sizes[-1] == here:
                costs[-1], origins[-1] = spent, origin
            else:
                sizes.append(here)
                costs.append(spent)
                origins.append(origin)
    return sizes, costs, Step(origins, count, start)


def _candidates(
    size: Sequence[int],
    cost: Sequence[float],
    options: Sequence[Option],
    *,
    slack: int,
    gap: float,
    rates: tuple[float, float],
) -> list[tuple[int, int, float]]:
    """Size, origin and cost of every state with none or one of the options whose bound is below ``gap``; by size, then origin."""
    down, up = rates[0], -rates[1]
    found: list[tuple[int, int, float]] = []
    origin = 0
    for more, price in ((0, 0.0), *options):
        beyond = more - slack
        for state_size, state_cost in zip(size, cost, strict=True):
            over, spent = state_size + beyond, state_cost + price
            if (over * down if over > 0 else over * up) + spent < gap:
                found.append((state_size + more, origin, spent))
            origin += 1
    found.sort()
    return found
