"""Scales of the block formats of GGUF as they are stored, searched for blocks of weights.

A super-block of 256 elements has groups of 16 or 32 with scales (and minima) that are themselves integers under a float16. The
scales of the groups are searched freely; then the float16 is set by the greatest of them; then each group's integer is chosen
anew among its neighbours by the error that the stored numbers leave. The older types have a float16 for each block of 32.

Source: the search follows the idea of llama.cpp's quantizers (least squares over a few scales). llama-quantize weighs errors by
the weights' own squares where it has no importance matrix; here they count alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Protocol, final

import torch
from torch import Tensor

from sensitivity.rounding.gguf_packing import as_half
from sensitivity.rounding.gguf_search import ranges, symmetric_scales


@final
@dataclass(frozen=True, slots=True)
class Elements:
    """Levels of a format: what a code stands for before the scale is applied.

    Attributes:
        round_: scaled elements to the nearest levels, in place.
        codes: uint8 codes of levels.
        tries: what a search does with the extremes of a group: levels that the greatest magnitude is put on, or, for formats
            with minima, numbers of steps that the range is cut into.
    """

    round_: Callable[[Tensor], Tensor]
    codes: Callable[[Tensor], Tensor]
    tries: tuple[float, ...]


@final
@dataclass(frozen=True, slots=True)
class BlockScales:
    """Stored scales of blocks. A weight is ``scale·level − minimum``.

    Attributes:
        scale: float32 (blocks, groups), of either sign or 0.
        minimum: of the same shape; ``None`` for formats without.
        unit: float16 (blocks, 1) that all scales of a block are multiples of.
        minimum_unit: the same for the minima.
        integers: what the unit is multiplied by, int16 (blocks, groups); ``None`` where a block is one group.
        minimum_integers: the same for the minima.
    """

    scale: Tensor
    minimum: Tensor | None
    unit: Tensor
    minimum_unit: Tensor | None = None
    integers: Tensor | None = None
    minimum_integers: Tensor | None = None

    @classmethod
    def joined(cls, parts: Sequence["BlockScales"]) -> "BlockScales":
        """Scales of the blocks of all parts, one part after the other."""
        columns = zip(*map(_columns, parts), strict=True)
        return cls(*(None if column[0] is None else torch.cat(column) for column in columns))  # type: ignore[arg-type]

    def blocks(self, start: int, stop: int) -> "BlockScales":
        """Scales of some blocks."""
        return BlockScales(*(None if column is None else column[start:stop] for column in _columns(self)))  # type: ignore[arg-type]

    def levels(self, groups: Tensor, elements: Elements) -> Tensor:
        """Nearest levels of weights, (blocks, groups, size): a new tensor."""
        shifted = groups if self.minimum is None else groups + self.minimum.unsqueeze(-1)
        return elements.round_(shifted * _inverse(self.scale).unsqueeze(-1))


def _columns(scales: BlockScales) -> tuple[Tensor | None, ...]:
    return tuple(getattr(scales, field.name) for field in fields(scales))


class Fit(Protocol):
    """Searches the scales of blocks."""

    def __call__(self, groups: Tensor, importance: Tensor | None, elements: Elements) -> BlockScales:
        """Scales of blocks.

        Args:
            groups: float32 (blocks, groups, size), finite and within ±65504.
            importance: weights of the squared errors, of the same shape; all alike if ``None``.
            elements: the format's levels.
        """


def one_scale(groups: Tensor, importance: Tensor | None, elements: Elements) -> BlockScales:
    """A float16 for each block: IQ4_NL, Q4_0, Q5_0, Q8_0, TQ1_0, TQ2_0."""
    blocks = groups.flatten(1)
    counts = None if importance is None else importance.flatten(1)
    unit = as_half(symmetric_scales(blocks, counts, elements.round_, elements.tries))
    return BlockScales(unit.float(), None, unit)


def scale_and_minimum(groups: Tensor, importance: Tensor | None, elements: Elements) -> BlockScales:
    """A float16 scale and a float16 minimum for each block: Q4_1, Q5_1."""
    counts = None if importance is None else importance.flatten(1)
    unit, minimum = (as_half(part) for part in ranges(groups.flatten(1), counts, elements.round_, elements.tries))
    return BlockScales(unit.float(), minimum.float(), unit, minimum)


@final
@dataclass(frozen=True, slots=True)
class IntegerScales:
    """Groups with an integer scale each under one float16: Q3_K, Q6_K, IQ4_XS.

    Attributes:
        greatest: integer scales reach from ``−greatest`` to ``greatest − 1``.
    """

    greatest: int

    def __call__(self, groups: Tensor, importance: Tensor | None, elements: Elements) -> BlockScales:
        """Scales of blocks."""
        shape = groups.shape[:2]
        free = symmetric_scales(groups.flatten(0, 1), _flat(importance), elements.round_, elements.tries).view(shape)
        stored = as_half(free.gather(1, free.abs().argmax(dim=1, keepdim=True)) / -self.greatest)
        unit = stored.float()
        near = (free * _inverse(unit)).round_()
        least, integers = torch.full_like(free, torch.inf), near
        for step in (0, -1, 1):
            tried = (near + step).clamp_(-self.greatest, self.greatest - 1)
            scales = BlockScales(unit * tried, None, stored)
            better = (errors := _errors(groups, importance, elements, scales)) < least
            least, integers = torch.where(better, errors, least), torch.where(better, tried, integers)
        return BlockScales(unit * integers, None, stored, integers=integers.to(torch.int16))


@final
@dataclass(frozen=True, slots=True)
class IntegerScalesAndMinima:
    """Groups with an integer scale and an integer minimum each under two float16: Q2_K, Q4_K, Q5_K.

    Attributes:
        greatest: greatest integer scale, and greatest integer minimum.
    """

    greatest: int

    def __call__(self, groups: Tensor, importance: Tensor | None, elements: Elements) -> BlockScales:
        """Scales of blocks."""
        found = ranges(groups.flatten(0, 1), _flat(importance), elements.round_, elements.tries)
        free, free_minima = (part.view(groups.shape[:2]) for part in found)
        stored = as_half(free.amax(dim=1, keepdim=True) / self.greatest)
        stored_minimum = as_half(free_minima.amax(dim=1, keepdim=True) / self.greatest)
        unit, minimum_unit = stored.float(), stored_minimum.float()
        near = self._integers(free, unit)
        least = torch.full_like(near, torch.inf)
        integers, minima = near, near
        for step in (0, -1, 1):
            tried = (near + step).clamp_(0, self.greatest)
            searched = BlockScales(unit * tried, free_minima, stored)
            lowest = self._integers(_refitted(groups, importance, elements, searched), minimum_unit)
            scales = BlockScales(searched.scale, minimum_unit * lowest, stored)
            better = (errors := _errors(groups, importance, elements, scales)) < least
            least = torch.where(better, errors, least)
            integers, minima = torch.where(better, tried, integers), torch.where(better, lowest, minima)
        return BlockScales(
            unit * integers,
            minimum_unit * minima,
            stored,
            stored_minimum,
            integers.to(torch.int16),
            minima.to(torch.int16),
        )

    def _integers(self, values: Tensor, unit: Tensor) -> Tensor:
        return (values * _inverse(unit)).round_().clamp_(0, self.greatest)


def _refitted(groups: Tensor, importance: Tensor | None, elements: Elements, scales: BlockScales) -> Tensor:
    """The best minimum of each group with the levels that these scales give."""
    difference = scales.levels(groups, elements).mul_(scales.scale.unsqueeze(-1)).sub_(groups)
    if importance is None:
        return difference.mean(dim=-1)
    return difference.mul_(importance).sum(dim=-1) / importance.sum(dim=-1).clamp_(min=torch.finfo(torch.float32).tiny)


def _errors(groups: Tensor, importance: Tensor | None, elements: Elements, scales: BlockScales) -> Tensor:
    """Squared error of each group, (blocks, groups)."""
    decoded = scales.levels(groups, elements).mul_(scales.scale.unsqueeze(-1))
    if scales.minimum is not None:
        decoded.sub_(scales.minimum.unsqueeze(-1))
    squares = decoded.sub_(groups).square_()
    return (squares if importance is None else squares.mul_(importance)).sum(dim=-1)


def _flat(importance: Tensor | None) -> Tensor | None:
    return None if importance is None else importance.flatten(0, 1)


def _inverse(scale: Tensor) -> Tensor:
    return torch.where(scale == 0, 0.0, 1 / scale)
