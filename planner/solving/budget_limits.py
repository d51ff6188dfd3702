"""Budgets that no plan can keep, or that bind nothing, in the user's unit."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final, NoReturn

import numpy as np

from planner.budget import Budget, BudgetKind, Footprint
from planner.build import Classes
from planner.errors import BudgetAboveCeilingError, BudgetBelowFloorError
from planner.solving.limits import Limit, Limits, pose_limits
from sensitivity.formats.abstract import AbstractFormat

SHOWN: Final = 10_000
"""Limits of bits are shown to this fraction, rounded to the side that is accepted."""

MOST_NAMED: Final = 5
"""Kinds of layers that an error names as those that make the floor."""
MOST_LAYERS: Final = 20
"""Names of layers of one kind."""


def check_floor(classes: Classes[AbstractFormat], budget: Budget, footprint: Footprint) -> None:
    """Refuse a budget of bits that even the smallest assignment exceeds; needs no measurement.

    Raises:
        BudgetBelowFloorError: with the smallest feasible budget, in the budget's own unit and in bytes.
    """
    check_floors(pose_limits([budget], classes, footprint), footprint)


def check_floors(limits: Limits, footprint: Footprint) -> None:
    """Refuse limits that not even the assignment that takes least of each keeps; needs no measurement.

    Raises:
        BudgetBelowFloorError: with the least feasible value of the first such limit, and the layers that make it.
    """
    for limit in limits:
        least = limits.least(limit)
        if least > limit.room:
            refuse_below_floor(limit, least, limits.classes, footprint)


def refuse_below_floor(
    limit: Limit, least: int, classes: Classes[AbstractFormat], footprint: Footprint, *, keeping: Sequence[str] = ()
) -> NoReturn:
    """Say what the least feasible value of a limit is, for which other limits and counts, and which layers make it.

    Args:
        limit: the one to raise.
        least: whole units that the planned layers take at least.
        classes: layer groups.
        footprint: what is beside the planned layers.
        keeping: what else is kept, in words.

    Raises:
        BudgetBelowFloorError: always.
    """
    value = limit.meter.least(least)
    makers = _makers(limit, classes)
    named = ", ".join(f"{maker.count} {maker.kind} in {maker.format} ({maker.share:.0%})" for maker in makers)
    named += _beside(limit, limit.meter.fixed + least, footprint)
    keeps = f" that keeps {'; '.join(keeping)}" if keeping else ""
    loosen = "loosen counts, floors and pins" if keeping else "loosen floors and pins"
    msg = (
        f"the budget of {limit.text} is below the smallest plan{keeps}: the least feasible is "
        f"{limit.say(_rounded_up(limit, value))}. Raise the budget, add smaller formats, or {loosen}"
        f"{f'. Most of it: {named}' if named else ''}"
    )
    fields: dict[str, object] = {"floor_layers": [asdict(maker) for maker in makers]}
    if limit.budget.kind is BudgetKind.FILE_BYTES:
        fields["floor_fixed_bytes"], fields["floor_container_bytes"] = footprint.fixed_bytes, footprint.container_bytes or 0
    if limit.budget.kind.counts_bits:
        file_bytes = footprint.fixed_file_bytes + -(-least // 8)
        in_bytes = limit.budget.kind is not BudgetKind.EFFECTIVE_BITS
        fields |= {"smallest_feasible_bytes": int(value) if in_bytes else file_bytes, "smallest_file_bytes": file_bytes}
    if keeping:
        fields["counts"] = list(keeping)
    raise BudgetBelowFloorError(msg, smallest_feasible=value, unit=limit.budget.kind.value, **fields)


@dataclass(frozen=True, slots=True)
class _Maker:
    """Layers of one kind at the floor, the first of them by name, the format that takes least, and their share of all."""

    kind: str
    count: int
    layers: list[str]
    format: str
    share: float


def _beside(limit: Limit, total: int, footprint: Footprint) -> str:
    """What is not planned, and what the files of weights have beside tensors, as shares of the floor."""
    fixed, container = limit.meter.fixed, 0
    if limit.budget.kind is BudgetKind.FILE_BYTES:
        container = limit.meter.units * (footprint.container_bytes or 0)
    parts = ((fixed - container, "what is not planned"), (container, "header, index and tokenizer of the file"))
    return "".join(f"; {words} ({_share(taken / max(1, total))})" for taken, words in parts if taken)


def _share(share: float) -> str:
    """A share in per cent; a small one is not shown as nothing."""
    return f"{share:.0%}" if share >= 0.01 else f"{share:.2%}"


def _rounded_up(limit: Limit, value: float) -> float:
    return math.ceil(value * SHOWN) / SHOWN if limit.budget.kind.counts_bits else value


def _makers(limit: Limit, classes: Classes[AbstractFormat]) -> list[_Maker]:
    """The layers that take most of the floor, those of one kind and format together."""
    table = np.where(classes.legal, limit.table, np.iinfo(np.int64).max)
    least, columns = table.min(axis=1, initial=2**62), table.argmin(axis=1) if table.size else np.empty(0, dtype=np.int64)
    total = max(1, limit.meter.fixed + int(least.sum()))
    names: dict[tuple[str, str], list[str]] = {}
    sums: Counter[tuple[str, str]] = Counter()
    for group, (taken, column) in enumerate(zip(least.tolist(), columns.tolist(), strict=True)):
        members = [classes.layers[i] for i in classes.groups[group]]
        key = ", ".join(dict.fromkeys(layer.kind for layer in members)), classes.formats[column].name
        names.setdefault(key, []).extend(layer.name for layer in members)
        sums[key] += taken
    return [
        _Maker(kind, len(names[kind, fmt]), names[kind, fmt][:MOST_LAYERS], fmt, taken / total)
        for (kind, fmt), taken in sums.most_common(MOST_NAMED)
        if taken
    ]


def check_ceiling(classes: Classes[AbstractFormat], budget: Budget, footprint: Footprint) -> None:
    """Refuse a budget of bits that binds nothing: most often a slip of the unit.

    Raises:
        BudgetAboveCeilingError: with the largest budget that any plan could use.
    """
    check_ceilings(pose_limits([budget], classes, footprint), footprint)


def check_ceilings(limits: Limits, footprint: Footprint) -> None:
    """Refuse limits none of which binds anything.

    Raises:
        BudgetAboveCeilingError: with the largest value of the first limit that any plan could use.
    """
    if not limits.items or any(limits.most(limit) >= limit.room for limit in limits.tightest):
        return
    limit = limits.items[0]
    largest = limits.most(limit)
    most = limit.meter.least(largest)
    shown = math.floor(most * SHOWN) / SHOWN if limit.budget.kind.counts_bits else most
    msg = (
        f"the budget of {limit.text} is above the largest plan, which needs {limit.say(shown)}. "
        f"Lower the budget, add larger formats, or say allow_slack to get the largest plan"
    )
    fields: dict[str, object] = {}
    if limit.budget.kind.counts_bits:
        fields["largest_file_bytes"] = footprint.fixed_file_bytes + -(-largest // 8)
    raise BudgetAboveCeilingError(msg, largest_useful=most, unit=limit.budget.kind.value, **fields)
