"""Memory pools: which layers lie in which memory, as items of a format and a pool each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from planner.build import Classes, GroupCurves
from planner.solving.explaining import fragile_groups
from planner.solving.plan import Solved
from planner.solving.rows import Row
from sensitivity.formats.abstract import AbstractFormat


def in_pools(classes: Classes[AbstractFormat], pools: int) -> Classes[AbstractFormat]:
    """The groups with every format in every pool: all formats in the first, then all in the next."""
    sizes, legal = np.hstack([classes.sizes] * pools), np.hstack([classes.legal] * pools)
    return Classes(classes.layers, classes.formats * pools, classes.groups, sizes, legal)


def curves_in_pools(curves: GroupCurves, pools: int) -> GroupCurves:
    """Losses in the same order; where something lies costs no loss."""
    loss, error = (np.hstack([table] * pools) for table in (curves.loss, curves.standard_error))
    return GroupCurves(loss, error, curves.notes)


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A plan with a place for everything.

    Attributes:
        items: int64 (groups,): format and pool of each group, as columns of ``in_pools``.
        pools: int64 (groups,): which pool.
        solved: the plan without its places.
    """

    items: NDArray[np.int64]
    pools: NDArray[np.int64]
    solved: Solved


def placed(solved: Solved, curves: GroupCurves, sizes: NDArray[np.int64], rows: Sequence[Row], *, formats: int) -> Placed:
    """Take the places out of a plan of ``in_pools``.

    Args:
        solved: the plan.
        curves: losses of ``curves_in_pools``.
        sizes: of ``in_pools``.
        rows: limits that it was solved under.
        formats: how many formats a pool has.
    """
    items = solved.proved.choice
    priced = curves.loss + solved.price * sizes
    if rows:
        priced = priced + np.tensordot(solved.prices, [row.table for row in rows], 1)
    cheapest = priced.reshape(len(items), -1, formats).min(axis=1) if len(items) else priced[:, :formats]
    choice = items % formats
    folded = replace(
        solved,
        proved=replace(solved.proved, choice=choice),
        next_up=np.where(solved.next_up < 0, -1, solved.next_up % formats),
        fragile=fragile_groups(cheapest, curves.standard_error[:, :formats], choice),
    )
    return Placed(items, items // formats, folded)
