"""Why layers of a plan have other formats in another runtime."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from planner.runtimes import RuntimeProfile
from planner.schemas.choices import Choice
from planner.schemas.plan_diffs import GroupChange, LayerChange, PlanDiff
from planner.schemas.plans import PlanDocument
from planner.schemas.retargeting import Cause, CauseTotal, ChangeReason
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.registry import resolve_format

NAMED: Final = 4
"""Layers that a sentence names."""

LEAST_PARTS: Final = 1000
"""A step between two formats that packing changes by less than this part of the layer is no reason."""


@dataclass(frozen=True)
class Changes:
    """Two plans of one model and their runtimes.

    Attributes:
        plan: the plan that was there.
        other: the plan for the other runtime.
        diff: what differs.
        layers: the layers that the other plan plans, by name.
        before: runtime of the plan.
        runtime: of the other plan.
    """

    plan: PlanDocument
    other: PlanDocument
    diff: PlanDiff
    layers: Mapping[str, Layer]
    before: RuntimeProfile
    runtime: RuntimeProfile

    def reasons(self) -> list[ChangeReason]:
        """A reason for every group of the difference, in order."""
        members: defaultdict[int, list[LayerChange]] = defaultdict(list)
        for change in self.diff.changed:
            members[change.group].append(change)
        return [self._reason(number, self.diff.groups[number], members[number]) for number in sorted(members)]

    def repacked_bits(self) -> int:
        """What layers that keep their format take more."""
        changed = {change.layer for change in self.diff.changed}
        kept = (choice for choice in self.other.choices if choice.layer in self._choices and choice.layer not in changed)
        return sum(choice.size_bits - self._choices[choice.layer].size_bits for choice in kept)

    @cached_property
    def _choices(self) -> dict[str, Choice]:
        return {choice.layer: choice for choice in self.plan.choices}

    @cached_property
    def _group(self) -> dict[str, int]:
        """Layer → index of its group in the other plan."""
        return {choice.layer: choice.group for choice in self.other.choices}

    @cached_property
    def _refusals(self) -> dict[tuple[str, str, tuple[int, int]], str | None]:
        return {}

    def _reason(self, number: int, group: GroupChange, changed: Sequence[LayerChange]) -> ChangeReason:
        cause, reason = self._cause(changed)
        return ChangeReason(
            group=number,
            layers=[change.layer for change in changed],
            cause=cause,
            reason=reason,
            bits_change=group.bits_change,
            loss_change=group.loss_change,
        )

    def _cause(self, changed: Sequence[LayerChange]) -> tuple[Cause, str]:
        """The first cause that holds for one of the layers: what binds hardest comes first."""
        alike = {(self._group[one.layer], one.format, one.kind, self.layers[one.layer].shape): one for one in reversed(changed)}
        different = list(reversed(alike.values()))
        ways: list[tuple[Cause, Callable[[LayerChange], str | None]]] = [
            ("refused", self._refused),
            ("tied", self._tied),
            ("packing", self._packed),  # of a format that is not refused
            ("menu", self._left_out),
        ]
        found = ((cause, reason) for cause, find in ways for change in different if (reason := find(change)) is not None)
        return next(found, ("rebalanced", "nothing holds it: its bits are worth more in other layers, or theirs in it"))

    def _refused(self, change: LayerChange) -> str | None:
        for name in self._together(change.layer):
            refusal = self._refusal(change.format, self.layers[name])
            if refusal is not None:
                where = change.layer if name == change.layer else f"{change.layer} is tied to {name}"
                return f"{where}: {refusal}"
        return None

    def _refusal(self, name: str, layer: Layer) -> str | None:
        key = (name, layer.kind, layer.shape)
        if key not in self._refusals:
            self._refusals[key] = self.runtime.refusal(resolve_format(name), layer)
        return self._refusals[key]

    def _tied(self, change: LayerChange) -> str | None:
        names = [name for name in self._together(change.layer) if name in self._choices]
        formats = sorted({self._choices[name].format for name in names})
        if len(formats) < 2:
            return None
        more = f" and {len(names) - 1 - NAMED} more" if len(names) - 1 > NAMED else ""
        return f"{change.layer} shares its format with {', '.join(names[1 : NAMED + 1])}{more}; they had {', '.join(formats)}"

    def _packed(self, change: LayerChange) -> str | None:
        """Bits that every format of a layer takes more (a pair of numbers for its shape) change no choice."""
        layer, fmt, other = self.layers[change.layer], resolve_format(change.format), resolve_format(change.other_format)
        if self.before.refusal(other, layer) is not None:
            return None
        steps = [
            runtime.size_bits(fmt, layer.shape) - runtime.size_bits(other, layer.shape) for runtime in (self.before, self.runtime)
        ]
        if abs(steps[1] - steps[0]) * LEAST_PARTS < self._choices[change.layer].size_bits:
            return None
        return (
            f"{fmt.name} takes {steps[1]:+,} bits beside {other.name} in {change.layer} as {self.runtime.name} packs it, "
            f"{steps[0]:+,} in {self.before.name}"
        )

    def _left_out(self, change: LayerChange) -> str | None:
        return None if change.format in self.other.formats else f"{change.format} is not among the formats asked for"

    def _together(self, layer: str) -> list[str]:
        """The layer, and those that share its format in the other plan."""
        return [layer, *(name for name in self.other.groups[self._group[layer]].layers if name != layer)]


def totals(reasons: Sequence[ChangeReason]) -> list[CauseTotal]:
    """Reasons added up by cause, the most layers first."""
    of_cause: defaultdict[Cause, list[ChangeReason]] = defaultdict(list)
    for reason in reasons:
        of_cause[reason.cause].append(reason)
    found = []
    for cause, members in of_cause.items():
        losses = [member.loss_change for member in members if member.loss_change is not None]
        found.append(
            CauseTotal(
                cause=cause,
                layers=sum(len(member.layers) for member in members),
                bits_change=sum(member.bits_change for member in members),
                loss_change=sum(losses) if len(losses) == len(members) else None,
            )
        )
    return sorted(found, key=lambda total: -total.layers)
