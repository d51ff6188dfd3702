"""Rounding with given scales: each element to the nearest level, and codes back to weights. All arithmetic is float32."""

import torch
from torch import Tensor

from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.gguf import BlockFormat
from sensitivity.rounding.codec import Encoded, Scaling
from sensitivity.rounding.gguf import decode_blocks
from sensitivity.rounding.groups import as_groups, group_width
from sensitivity.rounding.registry import codec_for

UNQUANTIZED = {"BF16": torch.bfloat16, "FP16": torch.float16}
# Rows are rounded in strips of about this many elements, so that temporary tensors stay in cache.
_STRIP_ELEMENTS = 1 << 20


def round_into(into: Tensor, weight: Tensor, fmt: CandidateFormat, scaling: Scaling | None) -> None:
    """Write what the codes of the weight decode to.

    Args:
        into: float32 of shape (out, in).
        weight: float32 of the same shape.
        fmt: the candidate format.
        scaling: its scales for this weight; ``None`` for unquantized formats.
    """
    if scaling is None:
        into.copy_(weight.to(UNQUANTIZED[fmt.name]))
        return
    columns = weight.shape[1]
    width = group_width(fmt, columns)
    step = max(1, _STRIP_ELEMENTS // columns)
    for start in range(0, len(weight), step):
        strip, rows = weight[start : start + step], into[start : start + step]
        groups = as_groups(strip, width)
        ragged = columns % width
        target = torch.empty_like(groups) if ragged else rows.view(groups.shape)
        part = scaling.rows(start, start + step)
        apply_scale_(levels_into(target, groups, fmt, part), part)
        if ragged:
            rows.copy_(target.flatten(1)[:, :columns])


def encode_nearest(weight: Tensor, fmt: CandidateFormat, scaling: Scaling | None) -> Encoded:
    """Codes of the nearest levels.

    Args:
        weight: any float dtype, shape (out, in).
        fmt: the candidate format.
        scaling: its scales for this weight; ``None`` for unquantized formats.
    """
    shape = (weight.shape[0], weight.shape[1])
    if scaling is None:
        return Encoded(fmt, shape, weight.to(UNQUANTIZED[fmt.name]), None)
    groups = as_groups(weight.float(), group_width(fmt, shape[1]))
    levels = levels_into(torch.empty_like(groups), groups, fmt, scaling)
    codes = codec_for(fmt).codes(levels, fmt).flatten(1)[:, : shape[1]]
    return Encoded(fmt, shape, codes.contiguous(), scaling)


@torch.no_grad()
def decode(encoded: Encoded) -> Tensor:
    """Float32 weights of shape (out, in): ``(level − zero point)·scale``, or what ggml reads from its blocks."""
    fmt, scaling = encoded.format, encoded.scaling
    if isinstance(fmt, BlockFormat):
        return decode_blocks(encoded)
    if scaling is None:
        return encoded.codes.float()
    columns = encoded.shape[1]
    levels = codec_for(fmt).levels(encoded.codes, fmt)
    return apply_scale_(as_groups(levels, group_width(fmt, columns)), scaling).flatten(1)[:, :columns].contiguous()


def levels_into(target: Tensor, groups: Tensor, fmt: CandidateFormat, scaling: Scaling) -> Tensor:
    """Nearest levels of grouped weights, written to ``target`` of the same shape (out, groups, size)."""
    torch.div(groups, scaling.effective.unsqueeze(-1), out=target)
    if scaling.zero_point is not None:
        target.add_(scaling.zero_point.unsqueeze(-1))
    return codec_for(fmt).round_(target, fmt)


def apply_scale_(levels: Tensor, scaling: Scaling) -> Tensor:
    """Levels of shape (out, groups, size) to weights, in place."""
    if scaling.zero_point is not None:
        levels.sub_(scaling.zero_point.unsqueeze(-1))
    return levels.mul_(scaling.effective.unsqueeze(-1))
