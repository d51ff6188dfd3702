"""Round to nearest (RTN): scale = extremes of the group, code = the nearest level. All arithmetic is float32.

Scales are rounded to their stored dtype first and codes are computed with the rounded scale, so what is decoded is
exactly what an engine that loads the stored scales in float32 computes. Equal to compressed-tensors bit for bit, for
every format that it has, except the sign of a zero. The block formats of GGUF have encoders of their own, whose scales are
searched where ggml's are (``sensitivity.rounding.gguf``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.gguf import BlockFormat
from sensitivity.inputs.moments import InputMoments
from sensitivity.rounding.codec import Encoded, Scaling
from sensitivity.rounding.gguf import decode_blocks, encode_blocks
from sensitivity.rounding.groups import Extremes, extremes, group_width, per_scale, require_matrix
from sensitivity.rounding.method import AbstractRounding
from sensitivity.rounding.nearest import encode_nearest, round_into
from sensitivity.rounding.registry import codec_for
from sensitivity.rounding_facts import RTN, RoundingFacts


@torch.no_grad()
def fake_quantize(weight: Tensor, fmt: CandidateFormat) -> Tensor:
    """What the stored codes of the weight decode to.

    Args:
        weight: any float dtype, shape (out, in).
        fmt: the candidate format.

    Returns:
        A new float32 tensor of shape (out, in). FP16 has infinities where a weight lies beyond its range.

    Raises:
        UnsupportedShapeError: the format cannot store this shape.
        CorruptCheckpointError: a weight is NaN or infinite.
    """
    return fake_quantize_many(weight, (fmt,))[0]


@torch.no_grad()
def fake_quantize_many(weight: Tensor, formats: Sequence[CandidateFormat], *, out: Tensor | None = None) -> Tensor:
    """``fake_quantize`` for several formats; extremes of groups are found once for each group size.

    Args:
        weight: any float dtype, shape (out, in).
        formats: K candidate formats.
        out: float32 of shape (K, out, in) to write into. Reusing one is several times faster: fresh memory costs more
            than the rounding itself.

    Returns:
        Float32 of shape (K, out, in).

    Raises:
        UnsupportedShapeError: a format cannot store this shape.
        CorruptCheckpointError: a weight is NaN or infinite.
    """
    known: dict[int, Extremes] = {}
    result = torch.empty((len(formats), *weight.shape), dtype=torch.float32) if out is None else out
    matrix = weight.float()
    for fmt, into in zip(formats, result, strict=True):
        if isinstance(fmt, BlockFormat):
            into.copy_(decode_blocks(encode_blocks(matrix, fmt)))
        else:
            round_into(into, matrix, fmt, plain_scaling(matrix, fmt, known))
    return result


@torch.no_grad()
def encode(weight: Tensor, fmt: CandidateFormat, known: dict[int, Extremes] | None = None) -> Encoded:
    """Codes and scales of the weight.

    Args:
        weight: any float dtype, shape (out, in).
        fmt: the candidate format.
        known: extremes by width of a group, read and completed.

    Raises:
        UnsupportedShapeError: the format cannot store this shape.
        CorruptCheckpointError: a weight is NaN or infinite.
    """
    if isinstance(fmt, BlockFormat):
        return encode_blocks(weight, fmt)
    return encode_nearest(weight, fmt, plain_scaling(weight, fmt, known))


def plain_scaling(weight: Tensor, fmt: CandidateFormat, known: dict[int, Extremes] | None = None) -> Scaling | None:
    """Scales from the extremes of each group; ``None`` for unquantized formats.

    Args:
        weight: any float dtype, shape (out, in).
        fmt: the candidate format.
        known: extremes by width of a group, read and completed.

    Raises:
        UnsupportedShapeError: the format cannot store this shape.
        CorruptCheckpointError: a weight is NaN or infinite.
    """
    require_matrix(weight, fmt)
    found = format_extremes(weight, fmt, {} if known is None else known)
    return codec_for(fmt).scaling(*found, fmt) if fmt.is_quantized else None


def format_extremes(weight: Tensor, fmt: CandidateFormat, known: dict[int, Extremes]) -> Extremes:
    """Extremes of what shares a scale in this format, shape (out, groups) or (1, 1); ``known`` is read and completed."""
    width = group_width(fmt, weight.shape[1])
    if width not in known:
        known[width] = extremes(weight, width)
    return per_scale(known[width], fmt.strategy)


@final
@dataclass(frozen=True, slots=True)
class RoundToNearest(AbstractRounding):
    """Round to nearest as a rounding method: no data, no search."""

    facts: ClassVar[RoundingFacts] = RTN

    def is_cheap(self, fmt: CandidateFormat) -> bool:
        """Yes, but for blocks, whose scales may be searched."""
        return not isinstance(fmt, BlockFormat)

    @torch.no_grad()
    def encode_many(
        self, weight: Tensor, formats: Sequence[CandidateFormat], inputs: InputMoments | None = None
    ) -> list[Encoded]:
        """Codes and scales in each format; inputs are not looked at."""
        known: dict[int, Extremes] = {}
        return [encode(weight, fmt, known) for fmt in formats]

    def fake_quantize(self, weight: Tensor, fmt: CandidateFormat, inputs: InputMoments | None = None) -> Tensor:
        """What the codes decode to, without making codes."""
        return fake_quantize(weight, fmt)

    @torch.no_grad()
    def fake_quantize_each(self, weight: Tensor, formats: Sequence[CandidateFormat]) -> Iterator[Tensor]:
        """In memory that is used again for the next format; extremes of groups are found once for each group size."""
        known: dict[int, Extremes] = {}
        matrix = weight.float()
        found = torch.empty_like(matrix)
        for fmt in formats:
            if isinstance(fmt, BlockFormat):
                yield decode_blocks(encode_blocks(matrix, fmt))
            else:
                round_into(found, matrix, fmt, plain_scaling(matrix, fmt, known))
                yield found


METHODS = (RoundToNearest(),)
