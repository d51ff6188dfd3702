"""Scales of groups of weights by search: those that leave the least squared error, for the block formats of GGUF.

Given codes, the best scale (and minimum) is a least-squares fit; given a scale, the best codes are the nearest. A few scales
around the one that the group's extremes give are tried, and each one's codes are fitted anew. Float32 throughout; groups are
rows of a (groups, size) tensor, importances of elements have the same shape, or are ``None`` where all count alike.
"""

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

Rounding = Callable[[Tensor], Tensor]
"""Scaled elements to the nearest levels, in place."""

TINY: Final = 1e-30
"""Magnitude below which a group counts as zeros."""


def symmetric_scales(groups: Tensor, importance: Tensor | None, round_: Rounding, bounds: Sequence[float]) -> Tensor:
    """Scales s of either sign with the least ``Σ v(x − s·level)²``, shape (groups, 1); 0 for groups of zeros.

    Args:
        groups: elements.
        importance: v.
        round_: the nearest levels.
        bounds: levels that the greatest magnitude of a group is put on, one after the other; a bound beyond the last level clips.
    """
    extreme = groups.gather(1, groups.abs().argmax(dim=1, keepdim=True))
    inverse = torch.where(extreme.abs() > TINY, 1 / extreme, 0.0)
    best, scales = torch.full_like(extreme, -1.0), torch.zeros_like(extreme)
    for bound in bounds:
        levels = round_(groups * (inverse * bound))
        weighted = levels if importance is None else levels * importance
        norm, product = _dot(weighted, levels), _dot(weighted, groups)
        scale = torch.where(norm > 0, product / norm, 0.0)
        explained = product * scale
        better = explained > best
        best, scales = torch.where(better, explained, best), torch.where(better, scale, scales)
    return scales


def ranges(groups: Tensor, importance: Tensor | None, round_: Rounding, steps: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Scales s ≥ 0 and minima m ≥ 0 with the least ``Σ v(x − s·q + m)²``, codes q from 0 on; shape (groups, 1) each.

    Args:
        groups: elements.
        importance: v.
        round_: the nearest codes.
        steps: numbers of steps that the range of a group is cut into, one after the other; more than there are codes clip it.
    """
    lowest, highest = torch.aminmax(groups, dim=1, keepdim=True)
    lowest.clamp_(max=0.0)
    span = highest.sub_(lowest)
    inverse = torch.where(span > TINY, 1 / span, 0.0)
    best = torch.full_like(lowest, -1.0)
    scales, minima = torch.zeros_like(lowest), torch.zeros_like(lowest)
    shifted = groups - lowest
    ones = torch.ones_like(groups) if importance is None else importance
    total, first = ones.sum(1, keepdim=True), _dot(groups, ones)
    for count in steps:
        codes = round_(shifted * (inverse * count))
        scale, minimum, explained = _line(codes, groups, ones, total, first)
        better = explained > best
        best = torch.where(better, explained, best)
        scales, minima = torch.where(better, scale, scales), torch.where(better, minimum, minima)
    return scales, minima


def _line(codes: Tensor, groups: Tensor, ones: Tensor, total: Tensor, first: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The line ``s·q − m`` through the elements, s ≥ 0 and m ≥ 0, and how much of their squares it explains."""
    weighted = codes * ones
    mean, square, product = weighted.sum(1, keepdim=True), _dot(weighted, codes), _dot(weighted, groups)
    determinant = total * square - mean * mean
    alone = torch.where(square > 0, 0.0, -first / total)  # all codes are equal
    minimum = torch.where(determinant > 0, (mean * product - square * first) / determinant, alone).clamp_(min=0.0)
    scale = torch.where(square > 0, (product + minimum * mean) / square, 0.0).clamp_(min=0.0)
    explained = 2 * (scale * product - minimum * first) - (
        scale * scale * square - 2 * scale * minimum * mean + minimum * minimum * total
    )
    return scale, minimum, explained


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum(1, keepdim=True)
