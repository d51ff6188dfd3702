"""Round to nearest with searched scales."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from sensitivity.formats.candidate import CandidateFormat
from sensitivity.inputs.moments import InputMoments
from sensitivity.rounding.codec import Encoded, Scaling
from sensitivity.rounding.groups import Extremes
from sensitivity.rounding.method import AbstractRounding
from sensitivity.rounding.nearest import encode_nearest
from sensitivity.rounding.rtn import format_extremes, plain_scaling
from sensitivity.rounding.scale_search import is_searched, searched_scaling
from sensitivity.rounding_facts import RTN_CLIP, RTN_DIAGONAL, RoundingFacts


@final
@dataclass(frozen=True, slots=True)
class ClippedRoundToNearest(AbstractRounding):
    """Round to nearest with the scale of each group that leaves the least ``‖ΔW‖²`` of the group: never more than ``rtn``.

    Symmetric integers may get a negative scale, which puts the code −2^(b−1) on the side of the greatest weight. Nothing
    changes for BF16 and FP16 (no scale), FP8 (a float rounds alike at every scale), FP8_TENSOR.

    Cost: for each of 3 to 29 candidate scales, by format, somewhat less than ``rtn`` itself.
    """

    facts: ClassVar[RoundingFacts] = RTN_CLIP

    @torch.no_grad()
    def encode_many(
        self, weight: Tensor, formats: Sequence[CandidateFormat], inputs: InputMoments | None = None
    ) -> list[Encoded]:
        """Codes and scales in each format; inputs are not looked at."""
        return [encode_nearest(weight, fmt, scaling) for fmt, scaling in zip(formats, scalings(weight, formats), strict=True)]


@final
@dataclass(frozen=True, slots=True)
class DiagonalRoundToNearest(AbstractRounding):
    """The search of ``rtn_clip`` with each column's squared error weighted by ``E[x_j²]`` of its input.

    The diagonal of what ``gptq`` minimises, without a correction of later columns (llama.cpp's importance matrix has the same
    idea). A layer that no token reached is rounded as ``rtn_clip`` does. Nothing changes for the formats that ``rtn_clip``
    leaves alone.

    Attributes:
        damping: part of the mean of ``E[x_j²]`` that is added to each, so that a group of dead inputs still counts.
    """

    facts: ClassVar[RoundingFacts] = RTN_DIAGONAL

    damping: float = 0.01

    @torch.no_grad()
    def encode_many(
        self, weight: Tensor, formats: Sequence[CandidateFormat], inputs: InputMoments | None = None
    ) -> list[Encoded]:
        """Codes and scales in each format."""
        found = scalings(weight, formats, importance=self._importance(self._required(inputs)))
        return [encode_nearest(weight, fmt, scaling) for fmt, scaling in zip(formats, found, strict=True)]

    def _importance(self, inputs: InputMoments) -> Tensor | None:
        """Weights of the columns with mean one, float32 (in,); ``None`` where no token came."""
        diagonal = inputs.hessian.diagonal()
        mean = diagonal.mean()
        return ((diagonal / mean + self.damping) / (1 + self.damping)).float() if mean > 0 else None


def scalings(weight: Tensor, formats: Sequence[CandidateFormat], *, importance: Tensor | None = None) -> list[Scaling | None]:
    """Searched scales of a weight (out, in) in each format, plain ones where no search is of use.

    Args:
        weight: any float dtype, shape (out, in).
        formats: candidate formats.
        importance: weight of each column in the squared error, float32 of shape (in,); all alike if not given.

    Raises:
        UnsupportedShapeError: a format cannot store this shape.
        CorruptCheckpointError: a weight is NaN or infinite.
    """
    matrix = weight.float()
    known: dict[int, Extremes] = {}
    result = []
    for fmt in formats:
        scaling = plain_scaling(matrix, fmt, known)
        if scaling is not None and is_searched(fmt):
            found = format_extremes(matrix, fmt, known)
            scaling = searched_scaling(matrix, fmt, found, scaling, importance=importance)
        result.append(scaling)
    return result


METHODS = (ClippedRoundToNearest(), DiagonalRoundToNearest())
