"""NF4: sixteen levels at quantiles of a normal distribution (QLoRA, arXiv 2305.14314, appendix E), absmax scale."""

import math
from functools import cache

import torch
from torch import Tensor

from sensitivity.formats.candidate import CandidateFormat, ElementType
from sensitivity.rounding.codec import AbstractCodec, Scaling, absmax_scale

NF4_LEVELS = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
_CELLS = 32


class NormalFloatCodec(AbstractCodec):
    """NF4; codes are uint8 indices into the levels, the lower one where an element lies exactly between two."""

    def handles(self, fmt: CandidateFormat) -> bool:
        """4-bit normal floats."""
        return fmt.type is ElementType.NORMAL_FLOAT and fmt.num_bits == 4

    def scaling(self, lowest: Tensor, highest: Tensor, fmt: CandidateFormat) -> Scaling:
        """Absmax, rounded to bfloat16."""
        return absmax_scale(torch.maximum(-lowest, highest), 1.0, torch.bfloat16)

    def round_(self, scaled: Tensor, fmt: CandidateFormat) -> Tensor:
        """Nearest level; what the rounded scale leaves outside [-1, 1] goes to the end."""
        lower, upper, boundary = (table.to(scaled.device) for table in _cells())
        cell = scaled.clamp(-1.0, 1.0).add_(1.0).mul_(_CELLS / 2).long()
        above = scaled > boundary.take(cell)
        return torch.where(above, upper.take(cell), lower.take(cell), out=scaled)

    def codes(self, levels: Tensor, fmt: CandidateFormat) -> Tensor:
        """Index of each level."""
        return _nearest(levels).to(torch.uint8)

    def levels(self, codes: Tensor, fmt: CandidateFormat) -> Tensor:
        """Table look-up."""
        return _levels().to(codes.device).take(codes.long())


def _nearest(values: Tensor) -> Tensor:
    return torch.bucketize(values, _boundaries().to(values.device), out_int32=True)


@cache
def _levels() -> Tensor:
    return torch.tensor(NF4_LEVELS, dtype=torch.float32)


@cache
def _boundaries() -> Tensor:
    """Midpoints, rounded down to float32: ``x > boundary`` then says exactly ``x > midpoint`` for every float32 x."""
    levels = _levels().double()
    exact = (levels[1:] + levels[:-1]) / 2
    nearest = exact.float()
    below = torch.nextafter(nearest, torch.tensor(-math.inf))
    return torch.where(nearest.double() > exact, below, nearest)


@cache
def _cells() -> tuple[Tensor, Tensor, Tensor]:
    """For each cell of [-1, 1]: the nearest level below its boundary, the one above it, and the boundary.

    Boundaries lie more than a cell apart, so a cell holds one at most; without one, both levels are the same. A search
    among 15 boundaries is several times slower.
    """
    edges = torch.linspace(-1.0, 1.0, _CELLS + 1, dtype=torch.float64)
    boundaries = torch.cat([_boundaries().double(), torch.tensor([2.0], dtype=torch.float64)])
    first = torch.bucketize(edges, boundaries)
    last = torch.bucketize(torch.cat([edges[1:], edges[-1:]]), boundaries)
    return _levels()[first], _levels()[last], boundaries[first].float()


CODECS = (NormalFloatCodec(),)
