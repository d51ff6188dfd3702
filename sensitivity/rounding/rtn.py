"""Round to nearest (RTN): scale = extremes of the group, code = the nearest level. All arithmetic is float32.

Scales are rounded to their stored dtype first and codes are computed with the rounded scale, so what is decoded is
exactly what an engine that loads the stored scales in float32 computes. Equal to compressed-tensors bit for bit, for
every format that it has, except the sign of a zero.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sensitivity.formats.candidate import CandidateFormat
from sensitivity.rounding.codec import Encoded, Scaling
from sensitivity.rounding.groups import as_groups, extremes, group_width, per_scale, require_matrix
from sensitivity.rounding.registry import codec_for

ROUNDING_VERSION = 1
# Rows are rounded in strips of about this many elements, so that temporary tensors stay in cache.
_STRIP_ELEMENTS = 1 << 20

Extremes = tuple[Tensor, Tensor]
_UNQUANTIZED = {"BF16": torch.bfloat16, "FP16": torch.float16}


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
        require_matrix(weight, fmt)
        found = _extremes(matrix, fmt, known)
        if fmt.is_quantized:
            _round_into(into, matrix, fmt, codec_for(fmt).scaling(*found, fmt))
        else:
            into.copy_(matrix.to(_UNQUANTIZED[fmt.name]))
    return result


@torch.no_grad()
def encode(weight: Tensor, fmt: CandidateFormat) -> Encoded:
    """Codes and scales of the weight, shape (out, in).

    Raises:
        UnsupportedShapeError: the format cannot store this shape.
        CorruptCheckpointError: a weight is NaN or infinite.
    """
    require_matrix(weight, fmt)
    shape = (weight.shape[0], weight.shape[1])
    found = _extremes(weight, fmt, {})
    if not fmt.is_quantized:
        return Encoded(fmt, shape, weight.to(_UNQUANTIZED[fmt.name]), None)
    codec = codec_for(fmt)
    scaling = codec.scaling(*found, fmt)
    groups = as_groups(weight.float(), group_width(fmt, shape[1]))
    levels = _levels_into(torch.empty_like(groups), groups, fmt, scaling)
    codes = codec.codes(levels, fmt).flatten(1)[:, : shape[1]]
    return Encoded(fmt, shape, codes.contiguous(), scaling)


@torch.no_grad()
def decode(encoded: Encoded) -> Tensor:
    """Float32 weights of shape (out, in): ``(level − zero point)·scale``."""
    fmt, scaling = encoded.format, encoded.scaling
    if scaling is None:
        return encoded.codes.float()
    columns = encoded.shape[1]
    levels = codec_for(fmt).levels(encoded.codes, fmt)
    return _apply_scale_(as_groups(levels, group_width(fmt, columns)), scaling).flatten(1)[:, :columns].contiguous()


def _extremes(weight: Tensor, fmt: CandidateFormat, known: dict[int, Extremes]) -> Extremes:
    width = group_width(fmt, weight.shape[1])
    if width not in known:
        known[width] = extremes(weight, width)
    return per_scale(known[width], fmt.strategy)


def _round_into(into: Tensor, weight: Tensor, fmt: CandidateFormat, scaling: Scaling) -> None:
    columns = weight.shape[1]
    width = group_width(fmt, columns)
    step = max(1, _STRIP_ELEMENTS // columns)
    for start in range(0, len(weight), step):
        strip, rows = weight[start : start + step], into[start : start + step]
        groups = as_groups(strip, width)
        ragged = columns % width
        target = torch.empty_like(groups) if ragged else rows.view(groups.shape)
        _apply_scale_(_levels_into(target, groups, fmt, part := _strip(scaling, start, step)), part)
        if ragged:
            rows.copy_(target.flatten(1)[:, :columns])


def _strip(scaling: Scaling, start: int, step: int) -> Scaling:
    if len(scaling.effective) == 1:  # one scale for the whole tensor, or a single row
        return scaling
    zero_point = None if scaling.zero_point is None else scaling.zero_point[start : start + step]
    return Scaling(scaling.stored, scaling.effective[start : start + step], zero_point)


def _levels_into(target: Tensor, groups: Tensor, fmt: CandidateFormat, scaling: Scaling) -> Tensor:
    torch.div(groups, scaling.effective.unsqueeze(-1), out=target)
    if scaling.zero_point is not None:
        target.add_(scaling.zero_point.unsqueeze(-1))
    return codec_for(fmt).round_(target, fmt)


def _apply_scale_(levels: Tensor, scaling: Scaling) -> Tensor:
    if scaling.zero_point is not None:
        levels.sub_(scaling.zero_point.unsqueeze(-1))
    return levels.mul_(scaling.effective.unsqueeze(-1))


@dataclass(frozen=True, slots=True)
class RoundToNearest:
    """Round to nearest as a rounding method: no data, no search."""

    name: str = "rtn"
    version: int = ROUNDING_VERSION
    encode: Callable[[Tensor, CandidateFormat], Encoded] = encode
    fake_quantize: Callable[[Tensor, CandidateFormat], Tensor] = fake_quantize


METHODS = (RoundToNearest(),)
