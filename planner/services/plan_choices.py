"""What a plan says of each layer and each layer group: made once, then shared by all documents."""

from collections.abc import Callable, Hashable
from typing import Final, TypeVar

from planner.build import Classes, GroupCurves
from planner.runtimes.profile import RuntimeProfile
from planner.schemas.choices import Choice, GroupChoice, NextFormat
from planner.solving import Solved

MOST_KEPT: Final = 8192
"""Choices that one question keeps. A plan of 224 layers has twice as many choices; the largest models make theirs anew."""

KEPT_BYTES: Final = 1000
"""About what one of them takes: a validated document of a handful of fields, and its place in a dictionary."""

Made = TypeVar("Made")


def most_bytes(classes: Classes) -> int:
    """About what the choices of one question can come to take."""
    return KEPT_BYTES * min(MOST_KEPT, 2 * classes.legal.size)


class PlanChoices:
    """The choices of one question's layers and groups; documents are frozen, so plans may share them."""

    def __init__(self, classes: Classes, curves: GroupCurves, runtime: RuntimeProfile) -> None:
        """Choices of which none is made yet.

        Args:
            classes: layer groups.
            curves: the losses that plans are made with.
            runtime: whose packing counts the bits.
        """
        self._classes = classes
        self._curves = curves
        self._runtime = runtime
        self._members = [[classes.layers[i].name for i in members] for members in classes.groups]
        self._choices: dict[Hashable, Choice] = {}
        self._group_choices: dict[Hashable, GroupChoice] = {}

    def of_layers(self, solved: Solved) -> list[Choice]:
        """What the plan gives every layer, in model order."""
        columns = solved.proved.choice[self._classes.group_of_layer].tolist()
        return [self._kept(self._choices, (layer, column), self._choice) for layer, column in enumerate(columns)]

    def of_groups(self, solved: Solved) -> list[GroupChoice]:
        """What the plan gives every layer group, and why."""
        count = len(self._members)  # groups of caches come behind those of weights
        keys = zip(*(row[:count].tolist() for row in (solved.proved.choice, solved.next_up, solved.fragile)), strict=True)
        return [self._kept(self._group_choices, (group, *key), self._group_choice) for group, key in enumerate(keys)]

    def _kept(self, kept: dict[Hashable, Made], key: tuple[int, ...], make: Callable[..., Made]) -> Made:
        found = kept.get(key)
        if found is None:
            found = make(*key)
            if len(self._choices) + len(self._group_choices) < MOST_KEPT:
                kept[key] = found
        return found

    def _choice(self, index: int, column: int) -> Choice:
        layer, fmt = self._classes.layers[index], self._classes.formats[column]
        return Choice(
            layer=layer.name,
            kind=layer.kind,
            block=layer.block,
            group=int(self._classes.group_of_layer[index]),
            format=fmt.name,
            size_bits=self._runtime.size_bits(fmt, layer.shape),
        )

    def _group_choice(self, group: int, column: int, up: int, fragile: bool) -> GroupChoice:
        return GroupChoice(
            layers=self._members[group],
            format=self._classes.formats[column].name,
            size_bits=int(self._classes.sizes[group, column]),
            predicted_loss=float(self._curves.loss[group, column]),
            standard_error=float(self._curves.standard_error[group, column]),
            next_up=None if up < 0 else self._next_format(group, column, up),
            fragile=fragile,
        )

    def _next_format(self, group: int, column: int, up: int) -> NextFormat:
        sizes, losses = self._classes.sizes[group], self._curves.loss[group]
        return NextFormat(
            format=self._classes.formats[up].name,
            more_bits=int(sizes[up] - sizes[column]),
            loss_change=float(losses[up] - losses[column]),
        )
