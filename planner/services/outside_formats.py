"""Formats that a question's menu leaves out, its runtime refuses, or nobody measured: the same for every budget."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from planner.build import Classes, GroupCurves, group_curves, measured_groups
from planner.curves import Curves
from planner.schemas.caveats import Reason
from planner.schemas.plans import Question
from planner.services.planning_inputs import Inputs, Selected
from planner.services.posing import Posed, legal_classes
from planner.solving.interpolation import interpolated
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import all_formats
from sensitivity.statistics import CellStatus

ANY_RUNTIME: Final = "generic"


@dataclass(frozen=True, slots=True)
class WiderMenu:
    """The question with every measured format that the runtime takes.

    Attributes:
        legal: layer groups by runtime and rules.
        offered: those of them whose losses are known.
        curves: expected losses.
        more: bool (groups, formats): offered here and not by the question.
    """

    legal: Classes
    offered: Classes
    curves: GroupCurves
    more: NDArray[np.bool_]


@dataclass(frozen=True)
class OutsideFormats:
    """What a question could have had.

    Attributes:
        question: what was asked; the budget is not part of it.
        selected: the layers.
        inputs: curves of the planned layers.
        posed: the question with its menu.
    """

    question: Question
    selected: Selected
    inputs: Inputs
    posed: Posed

    @cached_property
    def measured(self) -> Curves:
        """Expected losses of the menu and, behind it, of the other formats that were measured on every planned layer."""
        asked = self.inputs.measured if self.inputs.expected is None else self.inputs.expected
        return asked if self.inputs.others is None else asked.beside(_whole(self.inputs.others, asked))

    @cached_property
    def curves(self) -> Curves:
        """The same and, behind them, of formats that lie between measured ones."""
        return self.measured.beside(_whole(interpolated(self.measured, all_formats()), self.measured))

    @cached_property
    def candidates(self) -> list[tuple[int, CandidateFormat, float]]:
        """Formats that the plan cannot take everywhere: column of ``curves``, format, sum of the losses that are known."""
        own, curves = self.posed.classes, self.curves
        inside = [column < len(own.formats) and bool(own.legal[:, column].all()) for column in range(len(curves.formats))]
        return [
            (column, fmt, float(np.nansum(curves.loss[:, column])))
            for column, fmt in enumerate(curves.formats)
            if not inside[column]
        ]

    @cached_property
    def here(self) -> Classes:
        """Layer groups that may take any of the formats of ``curves`` that they have losses of, in the question's runtime."""
        return self._classes(self.curves, self.question.runtime)

    @cached_property
    def free(self) -> Classes:
        """The same in a runtime that takes every format."""
        return self._classes(self.curves, ANY_RUNTIME)

    @cached_property
    def losses(self) -> GroupCurves:
        """Losses of the groups of ``free``."""
        return group_curves(self.free, self.curves)

    @cached_property
    def wider(self) -> WiderMenu | None:
        """Every measured format that the runtime takes; ``None`` if the question has them all."""
        own = self.posed.classes
        if len(self.measured.formats) == len(own.formats) and not self.question.menus:
            return None
        legal = self._classes(self.measured, self.question.runtime)
        curves = group_curves(legal, self.measured)
        offered = replace(legal, legal=legal.legal & np.isfinite(curves.loss))
        more = offered.legal.copy()
        more[:, : len(own.formats)] &= ~own.legal
        return WiderMenu(legal, offered, curves, more) if more.any() else None

    def reason(self, column: int) -> Reason | None:
        """Why a plan cannot take a format of ``curves`` everywhere; ``None`` if two things are in the way."""
        legal = bool(self.here.legal[:, column].all())
        if column >= len(self.measured.formats):
            return "unmeasured" if legal else None
        return "menu" if legal else "runtime"

    def _classes(self, curves: Curves, runtime: str) -> Classes:
        asked = self.question.model_copy(update={"runtime": runtime})
        selected = replace(self.selected, rules=replace(self.selected.rules, menus={}))
        classes = legal_classes(selected, asked, [fmt.name for fmt in curves.formats], self.inputs)
        return replace(classes, legal=classes.legal & measured_groups(classes, curves))  # a menu may leave out what has no cells


def _whole(others: Curves, asked: Curves) -> Curves:
    """Formats measured on every planned layer; experts may be silent where they are in the formats that were asked for."""
    silent = (asked.status == CellStatus.NO_TOKENS).any(axis=1)[:, None]
    known = (others.status != "") & ((others.status != CellStatus.NO_TOKENS) | silent)
    return others.part(range(len(others.layers)), np.flatnonzero(known.all(axis=0)).tolist())
