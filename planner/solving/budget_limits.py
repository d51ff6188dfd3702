"""Budgets that no plan can keep, or that bind nothing, in the user's unit."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final, NoReturn

import numpy as np
from numpy.typing import NDArray

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

UNPLANNED: Final = "what is not planned"
CACHES: Final = "K and V caches, 16 bits an element"
"""What takes of a limit besides, in words."""


def check_floor(classes: Classes[AbstractFormat], budget: Budget, footprint: Footprint) -> None:
    """Refuse a budget of bits that even the smallest assignment exceeds; needs no measurement.

    Raises:
        BudgetBelowFloorError: with the smallest feasible budget, in the budget's own unit and in bytes.
    """
    check_floors(pose_limits([budget], classes, footprint), footprint)


def check_floors(limits: Limits, footprint: Footprint) -> None:
    """Refuse limits that not even the assignment that takes least of each keeps; needs no measurement.

    Raises:
        BudgetBelowFloorError: with the least feasible value of the first such limit, and the layers that make it; the others
            are named behind it.
    """
    floors = [_alone(limit, limits) for limit in limits if limits.least(limit) > limit.room]
    if floors:
        refuse_below_floor(floors[0], limits.classes, footprint, others=floors[1:])


@dataclass(frozen=True, slots=True, eq=False)
class Floor:
    """What a limit must have room for at least.

    Attributes:
        limit: that is too low.
        least: whole units that the planned layers take at least.
        choice: int64 (groups,): an assignment that takes so many.
    """

    limit: Limit
    least: int
    choice: NDArray[np.int64]

    @property
    def value(self) -> float:
        """The least feasible limit, in the user's unit."""
        return self.limit.meter.least(self.least)

    @property
    def said(self) -> str:
        """The same in words."""
        return self.limit.say(_rounded_up(self.limit, self.value))

    def makers(self, classes: Classes[AbstractFormat]) -> list["Maker"]:
        """The layers that take most of it, those of one kind and format together."""
        taken = self.limit.table[np.arange(len(self.choice)), self.choice]
        total = max(1, self.limit.meter.fixed + self.least)
        names: dict[tuple[str, str], list[str]] = {}
        sums: Counter[tuple[str, str]] = Counter()
        for group, (units, column) in enumerate(zip(taken.tolist(), self.choice.tolist(), strict=True)):
            if not units:
                continue
            members = [classes.layers[i] for i in classes.groups[group]]
            key = ", ".join(dict.fromkeys(layer.kind for layer in members)), classes.formats[column].name
            names.setdefault(key, []).extend(layer.name for layer in members)
            sums[key] += units
        return [
            Maker(kind, len(names[kind, fmt]), names[kind, fmt][:MOST_LAYERS], fmt, units / total)
            for (kind, fmt), units in sums.most_common(MOST_NAMED)
        ]

    def made_of(self, classes: Classes[AbstractFormat], footprint: Footprint) -> str:
        """These layers, and what is not planned, in words; empty where nothing takes of the limit."""
        makers, total = self.makers(classes), max(1, self.limit.meter.fixed + self.least)
        named = ", ".join(f"{maker.count} {maker.kind} in {maker.format} ({_share(maker.share)})" for maker in makers)
        beside = [f"{words} ({_share(taken / total)})" for words, taken in _taken_beside(self.limit, footprint).items()]
        return "; ".join([*([named] if named else []), *beside])


def _alone(limit: Limit, limits: Limits) -> Floor:
    """Of a limit whatever the others are."""
    table = np.where(limits.classes.legal, limit.table, np.iinfo(np.int64).max)
    return Floor(limit, limits.least(limit), table.argmin(axis=1) if table.size else np.empty(0, dtype=np.int64))


def refuse_below_floor(
    floor: Floor,
    classes: Classes[AbstractFormat],
    footprint: Footprint,
    *,
    keeping: Sequence[str] = (),
    others: Sequence[Floor] = (),
) -> NoReturn:
    """Say what the least feasible value of a limit is, for which other limits and counts, and which layers make it.

    Args:
        floor: of the limit to raise.
        classes: layer groups.
        footprint: what is beside the planned layers.
        keeping: what else is kept, in words.
        others: of limits that are too low as well.

    Raises:
        BudgetBelowFloorError: always.
    """
    limit, least, value = floor.limit, floor.least, floor.value
    named = floor.made_of(classes, footprint)
    keeps = f" that keeps {'; '.join(keeping)}" if keeping else ""
    msg = (
        f"the budget of {limit.text} is below the smallest plan{keeps}: the least feasible is "
        f"{floor.said}. {_advice(floor, footprint, counts=bool(keeping))}"
        f"{f'. Most of it: {named}' if named else ''}"
    )
    for other in others:
        msg += f". The budget of {other.limit.text} is too low as well: the least is {other.said}"
        made_of = other.made_of(classes, footprint)
        msg += f", most of it: {made_of}" if made_of else ""
    fields: dict[str, object] = {"floor_layers": [asdict(maker) for maker in floor.makers(classes)]}
    if others:
        fields["also_below"] = [below(other, classes) for other in others]
    if limit.budget.kind is BudgetKind.FILE_BYTES:
        fields["floor_fixed_bytes"], fields["floor_container_bytes"] = footprint.fixed_bytes, footprint.container_bytes or 0
    if limit.budget.kind.counts_bits:
        file_bytes = footprint.fixed_file_bytes + -(-least // 8)
        in_bytes = limit.budget.kind is not BudgetKind.EFFECTIVE_BITS
        fields |= {"smallest_feasible_bytes": int(value) if in_bytes else file_bytes, "smallest_file_bytes": file_bytes}
    if keeping:
        fields["counts"] = list(keeping)
    raise BudgetBelowFloorError(msg, smallest_feasible=value, unit=limit.budget.kind.value, **fields)


def below(floor: Floor, classes: Classes[AbstractFormat]) -> dict[str, object]:
    """A limit and its floor, for machines."""
    budget = floor.limit.budget
    return {
        "kind": budget.kind.value,
        "pool": budget.pool,
        "limit": budget.value,
        "smallest_feasible": floor.value,
        "floor_layers": [asdict(maker) for maker in floor.makers(classes)],
    }


@dataclass(frozen=True, slots=True)
class Maker:
    """Layers of one kind at the floor, the first of them by name, the format that takes least, and their share of all."""

    kind: str
    count: int
    layers: list[str]
    format: str
    share: float


def _taken_beside(limit: Limit, footprint: Footprint) -> dict[str, int]:
    """What takes of a limit whatever is planned, and whole units of it: caches are here where they are not planned."""
    meter, budget = limit.meter, limit.budget
    parts = {UNPLANNED: meter.fixed}
    if budget.kind is BudgetKind.FILE_BYTES:
        container = meter.units * (footprint.container_bytes or 0)
        parts = {UNPLANNED: meter.fixed - container, "header, index and tokenizer of the file": container}
    elif budget.kind in (BudgetKind.RESIDENT_BYTES, BudgetKind.POOL_BYTES) and meter.fixed:
        tensors, workspace = meter.units * footprint.fixed_bytes, meter.units * budget.workspace_bytes
        parts = {UNPLANNED: tensors, CACHES: meter.fixed - tensors - workspace, "workspace": workspace}
    return {words: taken for words, taken in parts.items() if taken}


def _advice(floor: Floor, footprint: Footprint, *, counts: bool) -> str:
    """What can be done for a limit that is too low; smaller layers do not help where none takes of it."""
    ways = ["Raise the budget"]
    if CACHES in _taken_beside(floor.limit, footprint):
        ways.append("lower the context or the batch")
    if floor.least:
        ways += ["add smaller formats", f"loosen {'counts, ' if counts else ''}floors and pins"]
    return ways[0] if len(ways) == 1 else f"{', '.join(ways[:-1])}, or {ways[-1]}"


def _share(share: float) -> str:
    """A share in per cent; a small one is not shown as nothing."""
    return f"{share:.0%}" if share >= 0.01 else f"{share:.2%}"


def _rounded_up(limit: Limit, value: float) -> float:
    return math.ceil(value * SHOWN) / SHOWN if limit.budget.kind.counts_bits else value


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
