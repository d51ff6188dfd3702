"""Weights and caches of one question as one problem: groups of weights first, those of caches behind them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

import solvers
from planner.build import Classes, GroupCurves
from planner.services.posing import Posed
from planner.solving import Uniforms, pose_problem
from planner.solving.caches import TENSORS, CacheColumn, beside, curves_beside
from sensitivity.formats.abstract import AbstractFormat

if TYPE_CHECKING:
    from planner.services.uniform_plans import UniformPlan

SOLVER_TABLES: Final = 13
"""About how many tables of the size of ``sizes`` a solver keeps with its problem."""


@dataclass(frozen=True)
class WholeProblem:
    """What is solved.

    Attributes:
        classes: all groups; columns of weights are closed to caches and the reverse.
        curves: their losses, those that are planned with.
        posed: the weights alone.
        caches: groups of the caches alone, where they are planned.
    """

    classes: Classes[AbstractFormat]
    curves: GroupCurves
    posed: Posed
    caches: Classes[CacheColumn] | None

    @cached_property
    def stored_bits(self) -> solvers.Problem:
        """The knapsack of all stored bits, for whatever budget: solvers keep with it what no budget changes."""
        return pose_problem(self.classes, self.curves, self.classes.largest_bits)

    @cached_property
    def uniforms(self) -> Uniforms:
        """What there is with a single format a part; of a problem with groups."""
        return Uniforms.of(self.classes, self.curves, self.parts)

    @cached_property
    def uniform_plans(self) -> "dict[tuple[int, ...], UniformPlan]":
        """What was said of them already, by their columns."""
        return {}

    @cached_property
    def weight_groups(self) -> int:
        """How many groups are of weights."""
        return len(self.posed.classes.groups)

    def of_weights(self, choice: NDArray[np.int64]) -> NDArray[np.int64]:
        """The part of an assignment that is of weights, as columns of ``posed.classes``."""
        return choice[: self.weight_groups]

    def of_caches(self, choice: NDArray[np.int64]) -> NDArray[np.int64]:
        """The part of an assignment that is of caches, as columns of ``caches``."""
        return choice[self.weight_groups :] - len(self.posed.classes.formats)

    def weight_bits(self, choice: NDArray[np.int64]) -> int:
        """Stored bits of the weights of an assignment."""
        return _bits(self.posed.classes, self.of_weights(choice))

    def cache_bits(self, choice: NDArray[np.int64]) -> int | None:
        """Stored bits of the caches of an assignment; ``None`` where they are not planned."""
        return None if self.caches is None else _bits(self.caches, self.of_caches(choice))

    def cache_loss(self, choice: NDArray[np.int64]) -> float:
        """Loss of the caches of an assignment; 0 where they are not planned."""
        rows = np.arange(self.weight_groups, len(choice))
        return float(self.curves.loss[rows, choice[rows]].sum())

    def cache_columns(self, formats: Mapping[str, str]) -> NDArray[np.int64]:
        """Columns of the whole problem that give the groups of caches these formats, by names of caches and formats."""
        found = []
        for group in range(self.weight_groups, len(self.classes.groups)):
            layer = self.classes.groups[group][0]
            wanted = formats[self.classes.layers[layer].name]
            legal = np.flatnonzero(self.classes.legal[group]).tolist()
            found.append(next(column for column in legal if self.format_name(layer, column) == wanted))
        return np.array(found, dtype=np.int64)

    @cached_property
    def parts(self) -> list[NDArray[np.int64]]:
        """Groups that a uniform assignment gives one format: weights, keys, and values, these two apart unless they are tied."""
        weights = [np.arange(self.weight_groups)]
        if self.caches is None:
            return weights
        kinds = [frozenset(self.caches.layers[i].kind for i in group) for group in self.caches.groups]
        return weights + [
            self.weight_groups + np.array([group for group, of in enumerate(kinds) if of == kind], dtype=np.int64)
            for kind in dict.fromkeys(kinds)
        ]

    def format_name(self, layer: int, column: int) -> str:
        """Name of a column for one layer: of a cache with its tensor (``K_INT8``)."""
        fmt = self.classes.formats[column]
        if not isinstance(fmt, CacheColumn):
            return fmt.name
        return fmt.of_tensor[TENSORS[self.classes.layers[layer].kind]].name

    @property
    def bytes(self) -> int:
        """Memory of the arrays that are not the weights' own."""
        return bytes_of(*self.classes.sizes.shape)


def bytes_of(groups: int, columns: int) -> int:
    """Memory of the arrays of a problem: its sizes, losses and errors, what a solver keeps with them, and what is legal."""
    return groups * columns * (8 * (3 + SOLVER_TABLES) + 1)


def whole_problem(posed: Posed, caches: tuple[Classes[CacheColumn], GroupCurves] | None) -> WholeProblem:
    """Put the caches, if they are planned, behind the weights."""
    if caches is None:
        return WholeProblem(posed.classes, posed.curves, posed, None)
    return WholeProblem(beside(posed.classes, caches[0]), curves_beside(posed.curves, caches[1]), posed, caches[0])


def _bits(classes: Classes[AbstractFormat], choice: NDArray[np.int64]) -> int:
    return int(classes.sizes[np.arange(len(choice)), choice].sum())
