"""Scales searched on a grid: for each group the factor on its extremes that leaves the least squared error of the weights.

A smaller scale clips the greatest weights and rounds all others finer. Every candidate is a scale as the file stores it, and
its error is that of the codes that it gives, so nothing is lost afterwards. The plain scale is a candidate, too, and another
one replaces it only if it is better by more than the arithmetic's own error: no group is ever worse than round to nearest.
"""

from typing import Final

import torch
from torch import Tensor

from sensitivity.formats.candidate import CandidateFormat, ElementType, Strategy
from sensitivity.rounding.codec import Scaling
from sensitivity.rounding.groups import Extremes, as_groups, group_width
from sensitivity.rounding.nearest import apply_scale_, levels_into
from sensitivity.rounding.registry import codec_for

BLOCK_ELEMENTS: Final = 1 << 20
"""Elements of the rows whose candidate scales exist at once."""

STRIP_ELEMENTS: Final = 1 << 18
"""Elements of the rows that every candidate is tried on while they are in cache."""

MARGIN: Final = 1e-5
"""By how much, relative to it, a candidate must be better than the plain scale: more than float32 sums are wrong."""

LEAST_ERROR: Final = 1e-30
"""Squared error below which a group keeps the plain scale: float32 squares lose their digits soon after."""


def is_searched(fmt: CandidateFormat) -> bool:
    """Whether any scale beside the plain one is tried: not for unquantized formats, FP8, or one scale for the whole tensor.

    The block formats of GGUF have a search of their own.
    """
    if fmt.type is ElementType.BLOCK:
        return False
    return fmt.is_quantized and fmt.strategy is not Strategy.TENSOR and bool(codec_for(fmt).shrinks(fmt))


def searched_scaling(
    weight: Tensor, fmt: CandidateFormat, found: Extremes, plain: Scaling, *, importance: Tensor | None = None
) -> Scaling:
    """The best scale of each group.

    Args:
        weight: float32 of shape (out, in).
        fmt: a format that ``is_searched``.
        found: extremes of the groups, shape (out, groups).
        plain: what the codec makes of them.
        importance: weight of each column in the squared error, float32 of shape (in,); all alike if not given.
    """
    columns = weight.shape[1]
    grouped = None if importance is None else as_groups(importance[None], group_width(fmt, columns))[0]
    step = max(1, BLOCK_ELEMENTS // columns)
    factors = [
        _best_factors(weight[start : start + step], fmt, _rows(found, start, step), plain.rows(start, start + step), grouped)
        for start in range(0, len(weight), step)
    ]
    return codec_for(fmt).shrunk(*found, fmt, factor=torch.cat(factors), like=plain)


def _rows(found: Extremes, start: int, step: int) -> Extremes:
    return found[0][start : start + step], found[1][start : start + step]


def _best_factors(weight: Tensor, fmt: CandidateFormat, found: Extremes, plain: Scaling, importance: Tensor | None) -> Tensor:
    """Float32 of shape (rows, groups)."""
    codec = codec_for(fmt)
    shrinks = codec.shrinks(fmt)
    candidates = [plain, *(codec.shrunk(*found, fmt, factor=factor, like=plain) for factor in shrinks)]
    errors = _errors(weight, fmt, candidates, importance)
    least, best = errors[1:].min(dim=0)
    better = (least < errors[0] * (1 - MARGIN)) & (errors[0] > LEAST_ERROR)
    return torch.where(better, torch.tensor(shrinks)[best], 1.0)


def _errors(weight: Tensor, fmt: CandidateFormat, candidates: list[Scaling], importance: Tensor | None) -> Tensor:
    """Squared error of each group with each candidate, float32 of shape (candidates, rows, groups)."""
    width = group_width(fmt, weight.shape[1])
    errors = torch.empty((len(candidates), *candidates[0].effective.shape))
    step = max(1, STRIP_ELEMENTS // weight.shape[1])
    for start in range(0, len(weight), step):
        groups = as_groups(weight[start : start + step], width)
        rounded = torch.empty_like(groups)
        for into, scaling in zip(errors, candidates, strict=True):
            part = scaling.rows(start, start + step)
            squares = apply_scale_(levels_into(rounded, groups, fmt, part), part).sub_(groups).square_()
            if importance is not None:
                squares.mul_(importance)
            torch.sum(squares, dim=-1, out=into[start : start + step])
    return errors
