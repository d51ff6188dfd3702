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
from sensitivity.rounding_facts import RTN_CLIP, RoundingFacts


@final
@dataclass(frozen=True, slots=True)
class ClippedRoundToNearest(AbstractRounding):
    """Round to nearest with the scale of each group that leaves the least ``‖ΔW‖²`` of the group: never more than ``rtn``.

    Symmetric integers may get a negative scale, which puts the code −2^(b−1) on the side of the greatest weight. Nothing
    changes for BF16 and FP16 (no scale), FP8 (a float rounds alike at every scale), FP8_TENSOR.

    Cost: 5 to 16 times ``rtn`` by format, for 3 to 29 candidate scales.
    """

    facts: ClassVar[RoundingFacts] = RTN_CLIP

    @torch.no_grad()
    def encode_many(
        self, weight: Tensor, formats: Sequence[CandidateFormat], inputs: InputMoments | None = None
    ) -> list[Encoded]:
        """Codes and scales in each format; inputs are not looked at."""
        return [encode_nearest(weight, fmt, scaling) for fmt, scaling in zip(formats, scalings(weight, formats), strict=True)]


def scalings(weight: Tensor, formats: Sequence[CandidateFormat], *, importance: Tensor | None = None) -> list[Scaling | None]:
    """Searched scales of a weight (out, in) in each format, plain ones where no search is of use.

    Args:
        weight: any float dtype, shape (out, in).
        formats: candidate formats.
        importance: weight of each column in the squared error, shape (in,); all alike if not given.

    Raises:
        UnsupportedShapeError: a format cannot store this shape.
        CorruptCheckpointError: a weight is NaN or infinite.
    """
    matrix = weight.float()
    known: dict[int, Extremes] = {}
    column_weights = None if importance is None else importance.float()
    result = []
    for fmt in formats:
        scaling = plain_scaling(matrix, fmt, known)
        if scaling is not None and is_searched(fmt):
            found = format_extremes(matrix, fmt, known)
            scaling = searched_scaling(matrix, fmt, found, scaling, importance=column_weights)
        result.append(scaling)
    return result


METHODS = (ClippedRoundToNearest(),)
