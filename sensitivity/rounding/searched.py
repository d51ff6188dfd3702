"""Round to nearest with searched scales."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.gguf import BlockFormat
from sensitivity.inputs.moments import InputMoments
from sensitivity.rounding.codec import Encoded, Scaling
from sensitivity.rounding.gguf import encode_blocks
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
    changes for BF16 and FP16 (no scale), FP8 (a float rounds alike at every scale), FP8_TENSOR, and GGUF's K-quants and IQ4,
    whose scales ``rtn`` searches, too.

    Cost: for each of 3 to 29 candidate scales, by format, somewhat less than ``rtn`` itself.
    """

    facts: ClassVar[RoundingFacts] = RTN_CLIP

    @torch.no_grad()
    def encode_many(
        self, weight: Tensor, formats: Sequence[CandidateFormat], inputs: InputMoments | None = None
    ) -> list[Encoded]:
        """Codes and scales in each format; inputs are not looked at."""
        return _encoded(weight, formats)


@final
@dataclass(frozen=True, slots=True)
class DiagonalRoundToNearest(AbstractRounding):
    """The search of ``rtn_clip`` with each column's squared error weighted by ``E[x_j²]`` of its input.

    The diagonal of what ``gptq`` minimises, without a correction of later columns. llama.cpp's importance matrix has the same
    idea, and the block formats of GGUF are written as with one. A layer that no token reached is rounded as ``rtn_clip`` does.
    Nothing changes for BF16, FP16 and the 8-bit floats.

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
        return _encoded(weight, formats, importance=self._importance(self._required(inputs)))

    def _importance(self, inputs: InputMoments) -> Tensor | None:
        """Weights of the columns with mean one, float32 (in,); ``None`` where no token came."""
        diagonal = inputs.hessian.diagonal()
        mean = diagonal.mean()
        return ((diagonal / mean + self.damping) / (1 + self.damping)).float() if mean > 0 else None


def _encoded(weight: Tensor, formats: Sequence[CandidateFormat], *, importance: Tensor | None = None) -> list[Encoded]:
    """Codes and searched scales in each format; the block formats of GGUF have a search of their own."""
    groups = [fmt for fmt in formats if not isinstance(fmt, BlockFormat)]
    found = dict(zip(groups, scalings(weight, groups, importance=importance), strict=True))
    return [
        encode_blocks(weight, fmt, searched=True, importance=importance)
        if isinstance(fmt, BlockFormat)
        else encode_nearest(weight, fmt, found[fmt])
        for fmt in formats
    ]


def scalings(weight: Tensor, formats: Sequence[CandidateFormat], *, importance: Tensor | None = None) -> list[Scaling | None]:
    """Searched scales of a weight (out, in) in each format, plain ones where no search is of use.

    Args:
        weight: any float dtype, shape (out, in).
        formats: candidate formats, no block formats.
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
