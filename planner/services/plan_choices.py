"""What a plan says of each layer and each layer group: made once, then shared by all documents."""

from collections.abc import Callable
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from planner.build import Classes, GroupCurves
from planner.runtimes.profile import RuntimeProfile
from planner.schemas.choices import Choice, GroupChoice, NextFormat
from planner.solving import Solved

MOST_KEPT: Final = 8192
"""Choices that one question keeps. A plan of 224 layers has twice as many choices; the largest models make theirs anew."""

KEPT_BYTES: Final = 1400
"""About what one of them takes: a validated document of a handful of fields, its JSON, and its place in a dictionary."""

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
        self._choices: dict[int, Choice] = {}
        self._group_choices: dict[int, GroupChoice] = {}

    def of_layers(self, solved: Solved) -> list[Choice]:
        """What the plan gives every layer, in model order."""
        columns = solved.proved.choice[self._classes.group_of_layer]
        return self._kept(self._choices, self._choice, (columns.shape[0], self._classes.legal.shape[1]), columns)

    def of_groups(self, solved: Solved) -> list[GroupChoice]:
        """What the plan gives every layer group, and why."""
        count, formats = len(self._members), self._classes.legal.shape[1]  # groups of caches come behind those of weights
        parts = (solved.proved.choice[:count], solved.next_up[:count] + 1, solved.fragile[:count])
        return self._kept(self._group_choices, self._group_choice, (count, formats, formats + 1, 2), *parts)

    def _kept(
        self, kept: dict[int, Made], make: Callable[..., Made], shape: tuple[int, ...], *parts: NDArray[np.int64 | np.bool_]
    ) -> list[Made]:
        """One choice for each position on the first axis of ``shape``, by the other parts of its key."""
        positions = [np.arange(shape[0]), *(part.astype(np.int64) for part in parts)]
        keys = np.ravel_multi_index(positions, shape).tolist()
        try:
            return list(map(kept.__getitem__, keys))
        except KeyError:
            given = zip(*(position.tolist() for position in positions), strict=True)
            return [self._made(kept, key, make, numbers) for key, numbers in zip(keys, given, strict=True)]

    def _made(self, kept: dict[int, Made], key: int, make: Callable[..., Made], numbers: tuple[int, ...]) -> Made:
        found = kept.get(key)
        if found is None:
            found = make(*numbers)
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

    def _group_choice(self, group: int, column: int, above: int, fragile: int) -> GroupChoice:
        """``above`` is 0 where no larger format is useful, else one more than its column."""
        return GroupChoice(
            layers=self._members[group],
            format=self._classes.formats[column].name,
            size_bits=int(self._classes.sizes[group, column]),
            predicted_loss=float(self._curves.loss[group, column]),
            standard_error=float(self._curves.standard_error[group, column]),
            next_up=self._next_format(group, column, above - 1) if above else None,
            fragile=bool(fragile),
        )

    def _next_format(self, group: int, column: int, up: int) -> NextFormat:
        sizes, losses = self._classes.sizes[group], self._curves.loss[group]
        return NextFormat(
            format=self._classes.formats[up].name,
            more_bits=int(sizes[up] - sizes[column]),
            loss_change=float(losses[up] - losses[column]),
        )
