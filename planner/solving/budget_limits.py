"""Budgets that no plan can keep, or that bind nothing, in the user's unit."""

import math
from collections.abc import Sequence
from typing import NoReturn

from planner.budget import Budget, BudgetKind, Footprint
from planner.errors import BudgetAboveCeilingError, BudgetBelowFloorError

SHOWN = 10_000  # limits are shown to this fraction of a bit, rounded to the side that is accepted


def check_floor(smallest_bits: int, budget: Budget, footprint: Footprint) -> None:
    """Refuse a budget that even the smallest assignment exceeds; needs no measurement.

    Raises:
        BudgetBelowFloorError: with the smallest feasible budget, in the budget's own unit and in bytes.
    """
    if smallest_bits > budget.layer_bits(footprint):
        refuse_below_floor(smallest_bits, budget, footprint)


def refuse_below_floor(smallest_bits: int, budget: Budget, footprint: Footprint, *, counts: Sequence[str] = ()) -> NoReturn:
    """Say what the least feasible budget is, and for which counts.

    Raises:
        BudgetBelowFloorError: always.
    """
    least = budget.of_layer_bits(smallest_bits, footprint)
    file_bytes = footprint.fixed_bytes + -(-smallest_bits // 8)
    keeping = f" that keeps {'; '.join(counts)}" if counts else ""
    loosen = "loosen counts, floors and pins" if counts else "loosen floors and pins"
    msg = (
        f"the budget of {say_budget(budget, budget.value)} is below the smallest plan{keeping}: the least feasible is "
        f"{say_budget(budget, math.ceil(least * SHOWN) / SHOWN)}. Raise the budget, add smaller formats, or {loosen}"
    )
    fields: dict[str, object] = {"counts": list(counts)} if counts else {}
    raise BudgetBelowFloorError(
        msg,
        smallest_feasible=least,
        unit=budget.kind.value,
        smallest_feasible_bytes=int(least) if budget.kind is not BudgetKind.EFFECTIVE_BITS else file_bytes,
        smallest_file_bytes=file_bytes,
        **fields,
    )


def check_ceiling(largest_bits: int, budget: Budget, footprint: Footprint) -> None:
    """Refuse a budget that binds nothing: most often a slip of the unit.

    Raises:
        BudgetAboveCeilingError: with the largest budget that any plan could use.
    """
    if largest_bits >= budget.layer_bits(footprint):
        return
    most = budget.of_layer_bits(largest_bits, footprint)
    msg = (
        f"the budget of {say_budget(budget, budget.value)} is above the largest plan, which needs "
        f"{say_budget(budget, math.floor(most * SHOWN) / SHOWN)}. "
        f"Lower the budget, add larger formats, or say allow_slack to get the largest plan"
    )
    raise BudgetAboveCeilingError(
        msg,
        largest_useful=most,
        unit=budget.kind.value,
        largest_file_bytes=footprint.fixed_bytes + -(-largest_bits // 8),
    )


def say_budget(budget: Budget, value: float) -> str:
    """A value of the budget's kind, with its unit, for a message."""
    if budget.kind is BudgetKind.EFFECTIVE_BITS:
        return f"{value:.8g} effective bits"
    return f"{int(value):,} {budget.kind.value.replace('_', ' ')}"
