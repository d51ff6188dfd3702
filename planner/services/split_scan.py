"""Every split point of a model, each solved exactly or shown to be no better than the best."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

import solvers
from planner.budget import Meter
from planner.devices import PICOSECONDS
from planner.errors import PlannerError
from planner.services.split_parts import Part
from planner.solving.caches import beside, corners, curves_beside
from planner.solving.caution import spread_of
from planner.solving.plan import solve_plan
from planner.solving.rows import Row

PRICES: Final = 24
"""Of a picosecond, that the bound of a split is looked for at."""
PRICE_STEP: Final = 4.0
ROUNDING: Final = 1e-13
"""Of the terms of a sum of losses: far more than adding them in another order changes, far less than a loss is known to."""


@dataclass(frozen=True)
class Point:
    """One split point.

    Attributes:
        split: blocks on the front.
        front: what lies there.
        back: what lies there.
        link_picoseconds: of one token of each sequence; 0 where one side has nothing.
        limit: most picoseconds of one token, all together; ``None`` for no limit.
    """

    split: int
    front: Part
    back: Part
    link_picoseconds: int
    limit: int | None

    @property
    def parts(self) -> tuple[Part, Part]:
        """Front and back."""
        return self.front, self.back

    @property
    def least_picoseconds(self) -> int:
        """Of the fastest plans, whatever memory they take."""
        return self.link_picoseconds + sum(part.least_picoseconds for part in self.parts)

    @property
    def overrun(self) -> float:
        """Greatest ratio of what a side takes at least to its memory; at most 1 where both sides can keep theirs."""
        return max(part.least_bytes / part.memory_bytes for part in self.parts)

    def floors(self) -> list[str]:
        """Limits that no plan of this split keeps, in words."""
        found = [
            f"the {name} takes {part.least_bytes:,} bytes at least and has {part.memory_bytes:,}"
            for name, part in zip(("front", "back"), self.parts, strict=True)
            if part.least_bytes > part.memory_bytes
        ]
        if self.limit is not None and self.least_picoseconds > self.limit:
            found.append(_too_slow(self.least_picoseconds, "in every plan"))
        return found

    def bound(self, stop: solvers.Deadline) -> float:
        """No plan loses less: the linear relaxation of both memories and the seconds.

        With a price μ ≥ 0 of a picosecond the sides are problems of their own, and ``Σ LP(loss + μ·time) − μ·left`` is a bound
        for any μ (Lagrange). It is concave in μ, so that the best price lies where the time that it buys meets the limit.
        """
        best, excess = self._relaxed(0.0, stop)
        if excess <= 0:
            return best
        low, high, price = 0.0, math.inf, self._loss_spread / excess * PRICE_STEP**-8
        for _ in range(PRICES):
            bound, excess = self._relaxed(price, stop)
            best = max(best, bound)
            low, high = (price, high) if excess > 0 else (low, price)
            if high < math.inf and low > 0:
                price = math.sqrt(low * high)
            else:
                price = price * PRICE_STEP if excess > 0 else price / PRICE_STEP
        return best

    @property
    def _loss_spread(self) -> float:
        """Between the best and the worst plan."""
        tables = [np.where(part.classes.legal, part.curves.loss, np.nan) for part in self.parts if part.classes.groups]
        return sum(float((np.nanmax(table, axis=1) - np.nanmin(table, axis=1)).sum()) for table in tables)

    def _relaxed(self, price: float, stop: solvers.Deadline) -> tuple[float, int]:
        """The bound at a price of a picosecond, and about how many its plan takes beyond the limit."""
        bound, taken = 0.0, self.link_picoseconds
        for part in self.parts:
            choice = np.zeros(0, dtype=np.int64)
            if part.classes.groups:
                problem = part.problem if not price else part.priced(price)
                found = solvers.solve(problem, solvers.HullGreedy(), deadline=stop.remaining())
                choice, bound = found.choice, bound + found.lower_bound
            taken += part.picoseconds(choice)
        if self.limit is None:
            return bound, 0
        left = self.limit - self.link_picoseconds - sum(part.fixed.picoseconds for part in self.parts)
        rounding = ROUNDING * (abs(bound) + price * abs(left))
        return bound - price * left - rounding, taken - self.limit

    def fastest_within_memory(self, stop: solvers.Deadline) -> int:
        """No plan that both memories hold takes fewer picoseconds for a token; exact unless the time ran out."""
        return self.link_picoseconds + sum(part.fastest_within_memory(stop) for part in self.parts)

    def picoseconds(self, choices: Sequence[NDArray[np.int64]]) -> int:
        """Of one token of each sequence: both sides and the link, one after another."""
        return self.link_picoseconds + sum(part.picoseconds(choice) for part, choice in zip(self.parts, choices, strict=True))


@dataclass(frozen=True, eq=False)
class Found:
    """The best plan of a split.

    Attributes:
        choices: int64 (groups,) of the front and of the back.
        loss: predicted, of both.
        lower_bound: no plan of this split that keeps the limits loses less.
        standard_error: of ``loss``.
    """

    choices: tuple[NDArray[np.int64], NDArray[np.int64]]
    loss: float
    lower_bound: float
    standard_error: float


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the scan says of a split.

    Attributes:
        point: the split.
        status: as documents say it.
        bound: no plan loses less; ``None`` where no plan exists.
        found: its best plan, where it was solved.
        reason: why it was not.
        least_picoseconds: of a token within both memories, where that is over the limit.
    """

    point: Point
    status: Literal["solved", "infeasible", "skipped", "undecided"]
    bound: float | None = None
    found: Found | None = None
    reason: str = ""
    least_picoseconds: int | None = None


def scan(points: Iterable[Point], stop: solvers.Deadline) -> list[Outcome]:
    """Solve split points by their bounds, the least first; those whose bound is above the best loss so far need no solve.

    Without a limit of seconds the sides are problems of one row each. With one, that is tried first: if it is fast enough it is
    the best of the split, and if not its loss is a bound that is nearer.

    Args:
        points: split points.
        stop: after it the remaining ones stay undecided, once a plan is known.

    Returns:
        An outcome for each point, in their order.
    """
    known: list[Outcome] = []
    waiting: list[tuple[float, Point]] = []
    for point in points:
        floors = point.floors()
        if floors:
            known.append(Outcome(point, "infeasible", reason="; ".join(floors)))
        else:
            waiting.append((point.bound(stop), point))
    best = float("inf")
    for bound, point in sorted(waiting, key=lambda item: (item[0], item[1].split)):
        outcome = _decided(point, bound, best, stop)
        if outcome.found is not None:
            best = min(best, outcome.found.loss)
        known.append(outcome)
    return sorted(known, key=lambda outcome: outcome.point.split)


def is_above(loss: float, other: float) -> bool:
    """More than another loss by more than the rounding of their sums."""
    return loss > other + ROUNDING * abs(other)


def _decided(point: Point, bound: float, best: float, stop: solvers.Deadline) -> Outcome:
    if is_above(bound, best):
        return _skipped(point, bound)
    if stop.passed() and best < math.inf:
        return _undecided(point, bound)
    apart = _apart(point, stop)
    if point.limit is None or point.picoseconds(apart.choices) <= point.limit:
        return Outcome(point, "solved", apart.lower_bound, apart)
    bound = max(bound, apart.lower_bound)
    return _skipped(point, bound) if is_above(bound, best) else _within_seconds(point, point.limit, bound, stop)


def _within_seconds(point: Point, limit: int, bound: float, stop: solvers.Deadline) -> Outcome:
    """A split whose best plan within the memories alone is too slow."""
    fastest = point.fastest_within_memory(stop)
    if fastest > limit:
        reason = _too_slow(fastest, "in what both memories hold")
        return Outcome(point, "infeasible", reason=reason, least_picoseconds=fastest)
    try:
        together = _together(point, limit, stop)
    except PlannerError:
        return _undecided(point, bound)
    return Outcome(point, "solved", min(together.loss, max(bound, together.lower_bound)), together)


def _apart(point: Point, stop: solvers.Deadline) -> Found:
    """The best plan of each side within its memory, whatever time they take."""
    choices: list[NDArray[np.int64]] = []
    loss, lower_bound, errors = 0.0, 0.0, []
    for part in point.parts:
        choice = np.zeros(0, dtype=np.int64)
        if part.classes.groups:
            proved = solve_plan(part.classes, part.curves, part.room, deadline=stop.remaining()).proved
            choice = proved.choice
            loss, lower_bound = loss + proved.loss, lower_bound + proved.lower_bound
        choices.append(choice)
        errors.append(spread_of(part.curves.standard_error, choice))
    return Found((choices[0], choices[1]), loss, lower_bound, math.hypot(*errors))


def _together(point: Point, limit: int, stop: solvers.Deadline) -> Found:
    """The best plan of both sides within their memories and the seconds that they share: three rows of one problem."""
    front, back = point.parts
    classes, curves = beside(front.classes, back.classes), curves_beside(front.curves, back.curves)
    nothing = np.zeros_like(front.classes.sizes), np.zeros_like(back.classes.sizes)
    left = limit - point.link_picoseconds - front.fixed.picoseconds - back.fixed.picoseconds
    rows = [
        Row("bytes of the front", corners(front.classes.sizes, nothing[1], 0), front.room),
        Row("bytes of the back", corners(nothing[0], back.classes.sizes, 0), back.room),
        Row("seconds to decode a token", corners(front.times, back.times, 0), left),
    ]
    proved = solve_plan(classes, curves, classes.largest_bits, deadline=stop.remaining(), rows=rows).proved
    groups, formats = front.classes.legal.shape
    choices = proved.choice[:groups], proved.choice[groups:] - formats
    return Found(choices, proved.loss, proved.lower_bound, proved.standard_error)


def _skipped(point: Point, bound: float) -> Outcome:
    return Outcome(point, "skipped", bound, reason="every plan of this split loses more than the best one of another")


def _undecided(point: Point, bound: float) -> Outcome:
    return Outcome(point, "undecided", bound, reason="the deadline came first")


def _too_slow(least: int, where: str) -> str:
    return f"a token takes {Meter(PICOSECONDS).least(least):.8g} s at least {where}"
