"""The port of every element type: scales from extremes, rounding to levels, levels to stored codes and back.

Weights travel as groups: float32 of shape (out, groups, size), where all elements of a group share a scale. A level is
the float32 number that a code stands for before the zero point is taken off and the scale applied:
``weight = (level − zero point)·scale``.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from sensitivity.formats.candidate import CandidateFormat

SHRINKS = tuple(1 - 0.05 * step for step in range(1, 14))
"""Factors on the extremes of a group, from 0.95 down to 0.35."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """Scales of one matrix. All tensors but ``global_scale`` have shape (out, groups); per tensor: (1, 1).

    Attributes:
        stored: scales as the file keeps them (bfloat16, E4M3, or uint8 exponents).
        effective: float32 numbers to divide weights by, after rounding to the stored dtype; never zero.
        zero_point: int8 zero points, or ``None`` for symmetric formats.
        global_scale: float32 of shape (1,), or ``None``.
    """

    stored: Tensor
    effective: Tensor
    zero_point: Tensor | None = None
    global_scale: Tensor | None = None

    def rows(self, start: int, stop: int) -> "Scaling":
        """Scales of some rows; a single row of scales serves them all."""
        if len(self.effective) == 1:
            return self
        zero_point = None if self.zero_point is None else self.zero_point[start:stop]
        return Scaling(self.stored[start:stop], self.effective[start:stop], zero_point, self.global_scale)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A matrix in a candidate format, element by element, before any container packs it.

    Attributes:
        format: the candidate format.
        shape: (out, in) of the matrix.
        codes: stored elements, (out, in): int8 for INT, float8_e4m3fn for FP8, uint8 for 4-bit codes; the weights
            themselves in bfloat16 or float16 for unquantized formats; for blocks of GGUF all their bytes, uint8 (out, bytes).
        scaling: scales and zero points; ``None`` for unquantized formats and blocks.
    """

    format: CandidateFormat
    shape: tuple[int, int]
    codes: Tensor
    scaling: Scaling | None


class AbstractCodec(ABC):
    """One family of element types. Concrete codecs are final, without state, and found through their module's ``CODECS``."""

    @abstractmethod
    def handles(self, fmt: CandidateFormat) -> bool:
        """Whether this codec is the one for the format."""

    @abstractmethod
    def scaling(self, lowest: Tensor, highest: Tensor, fmt: CandidateFormat) -> Scaling:
        """Scales from the extremes of each group, float32 of shape (out, groups), with ``lowest <= 0 <= highest``."""

    def shrinks(self, fmt: CandidateFormat) -> tuple[float, ...]:
        """Factors on a group's extremes that a search for a better scale should try beside 1; none if no scale is better."""
        return SHRINKS

    def shrunk(self, lowest: Tensor, highest: Tensor, fmt: CandidateFormat, *, factor: Tensor | float, like: Scaling) -> Scaling:
        """Scales from extremes times a factor; what the whole tensor shares is taken from ``like``.

        Args:
            lowest: as for ``scaling``.
            highest: as for ``scaling``.
            fmt: the candidate format.
            factor: one for all groups, or one each, shape (out, groups).
            like: scales of the whole tensor at factor 1.
        """
        return self.scaling(lowest * factor, highest * factor, fmt)

    @abstractmethod
    def round_(self, scaled: Tensor, fmt: CandidateFormat) -> Tensor:
        """Replace each float32 element by the nearest level, in place, and return the tensor."""

    @abstractmethod
    def codes(self, levels: Tensor, fmt: CandidateFormat) -> Tensor:
        """Stored codes of exact levels, same shape."""

    @abstractmethod
    def levels(self, codes: Tensor, fmt: CandidateFormat) -> Tensor:
        """Float32 levels of stored codes, same shape."""


def absmax_scale(absmax: Tensor, greatest: float, dtype: torch.dtype) -> Scaling:
    """Symmetric scaling ``absmax / greatest``, rounded to the stored dtype.

    A group of zeros (or one whose scale vanishes in the stored dtype) gets the dtype's epsilon, as in
    compressed-tensors: it decodes to exactly zero.

    Args:
        absmax: greatest magnitude of each group, float32.
        greatest: the level that the greatest magnitude maps to.
        dtype: dtype of a stored scale.
    """
    return stored_scale(absmax / greatest, dtype)


def stored_scale(scale: Tensor, dtype: torch.dtype, zero_point: Tensor | None = None) -> Scaling:
    """Round float32 scales to the stored dtype; zero becomes the dtype's epsilon."""
    limits = torch.finfo(dtype)
    stored = scale.clamp(limits.min, limits.max).to(dtype)
    stored = torch.where(stored == 0, torch.tensor(limits.eps, dtype=dtype), stored)
    return Scaling(stored, stored.float(), zero_point)
