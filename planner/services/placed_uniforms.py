"""The uniform baseline where things lie in memory pools: one format everywhere, in the places that keep every limit."""

from itertools import product

import numpy as np
from numpy.typing import NDArray

from planner.build import GroupCurves
from planner.errors import PlannerError
from planner.services.asking import Asked
from planner.solving import solve_plan

SECONDS = 1.0
"""For the places of one format."""


def placed_uniform(asked: Asked) -> NDArray[np.int64] | None:
    """The single format (and one of all keys, one of all values) of least loss that has places, int64 (groups,) of formats.

    Counts are kept too. Of an inverse question: the one of fewest bits that loses no more than asked for.
    """
    whole, formats = asked.whole, len(asked.whole.classes.formats)
    most_loss = asked.request.budget.max_loss
    choices: list[tuple[float, int, NDArray[np.int64]]] = []
    for columns in product(*(_common(whole.classes.legal[part]) for part in whole.parts)):
        choice = np.empty(len(whole.classes.groups), dtype=np.int64)
        for part, column in zip(whole.parts, columns, strict=True):
            choice[part] = column
        loss = float(whole.curves.loss[np.arange(len(choice)), choice].sum())
        bits = int(whole.classes.sizes[np.arange(len(choice)), choice].sum())
        if most_loss is None or loss <= most_loss:
            choices.append((loss if most_loss is None else bits, len(choices), choice))
    for _, _, choice in sorted(choices):
        if _has_places(asked, choice, formats):
            return choice
    return None


def _common(legal: NDArray[np.bool_]) -> list[int]:
    """Columns that every group of a part may take."""
    return np.flatnonzero(legal.all(axis=0)).tolist() if len(legal) else []


def _has_places(asked: Asked, choice: NDArray[np.int64], formats: int) -> bool:
    items = asked.limits.classes
    chosen = np.arange(len(items.formats)) % formats == choice[:, None]
    curves = GroupCurves(np.where(chosen & items.legal, asked.curves.loss, np.inf), asked.curves.standard_error, ())
    try:
        solve_plan(items, curves, asked.limits.budget_bits, deadline=SECONDS, rows=asked.rows)
    except PlannerError:
        return False
    return True
