"""Lower convex hulls of all classes at once: the LP-undominated items and the steps between them."""

from dataclasses import dataclass

import numpy as np

from solvers.excess import Excess
from solvers.problem import Floats, Integers


@dataclass(frozen=True, slots=True, eq=False)
class HullSteps:
    """Steps along the hulls, the most profitable first; the steps of one class keep their order.

    Attributes:
        start: int64 ``[N]``, the least loss among the smallest items of each class, where its hull begins.
        klass: int64 ``[S]``, class of a step.
        item: int64 ``[S]``, item that the step leads to.
        previous: int64 ``[S]``, item that it leads from.
        rate: float64 ``[S]``, loss saved per unit of size, falling.
    """

    start: Integers
    klass: Integers
    item: Integers
    previous: Integers
    rate: Floats


def walk_hulls(excess: Excess) -> HullSteps:
    """Gift wrapping in all classes together: from where a class stands to the item that saves most loss per unit of size.

    One round a hull corner; a round reads the classes whose hull has not ended. ``O(N·K·corners)``, no sorting of items.
    """
    start = np.where(excess.size == 0, excess.loss, np.inf).argmin(axis=0)
    active, at, limit = np.arange(excess.classes), start, np.full(excess.classes, np.inf)
    classes, items, origins, rates = [active[:0]], [active[:0]], [active[:0]], [limit[:0]]
    while active.size:
        rate, item = _steepest(excess.loss[:, active], excess.size[:, active], at)
        goes = rate > 0
        rate = np.minimum(rate, limit)[goes]  # convex up to rounding; a class must not overtake itself
        classes.append(active[goes])
        items.append(item[goes])
        origins.append(at[goes])
        rates.append(rate)
        active, at, limit = active[goes], item[goes], rate
    rate = np.concatenate(rates)
    order = np.argsort(-rate, kind="stable")
    klass, item, previous = np.concatenate(classes), np.concatenate(items), np.concatenate(origins)
    return HullSteps(start, klass[order], item[order], previous[order], rate[order])


def _steepest(loss: Floats, size: Floats, at: Integers) -> tuple[Floats, Integers]:
    """Of every class the largest saving per unit from its present item, 0 where there is none, and the farthest item with it."""
    rows = np.arange(at.shape[0])
    saved, grown = loss[at, rows] - loss, size - size[at, rows]
    useful = (saved > 0) & (grown > 0)
    rate = np.where(useful, saved, 0.0) / np.where(useful, grown, 1.0)
    best: Floats = rate.max(axis=0)
    return best, np.where(useful & (rate == best), grown, -1.0).argmax(axis=0)
