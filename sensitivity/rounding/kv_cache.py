"""What the K and V caches decode to in a cache format. All arithmetic is float32."""

import torch
from torch import Tensor

from sensitivity.formats.candidate import ElementType
from sensitivity.formats.kv_cache import CacheStrategy, KVCacheFormat
from sensitivity.formats.registry import get_format
from sensitivity.rounding.rtn import fake_quantize


@torch.no_grad()
def fake_quantize_cache(states: Tensor, fmt: KVCacheFormat) -> Tensor:
    """What the stored keys, or values, of one sequence decode to.

    All tokens are stored at once, as an engine stores a prompt: no window of recent tokens is kept in 16 bits. NVFP4's scale of
    the layer is that of this sequence's greatest element, as a calibration on it would set it.

    Args:
        states: as the model hands them to its cache, float32 (…, heads, length, head_dim).
        fmt: the cache format.

    Returns:
        Float32 of the same shape; NaN throughout if a state is NaN or infinite, infinite where FP16 does not reach.
    """
    if not bool(states.isfinite().all()):
        return torch.full_like(states, torch.nan)
    if fmt.element_dtype is not None:
        dtype: torch.dtype = getattr(torch, fmt.element_dtype)
        limit = torch.finfo(dtype).max
        saturated = states if fmt.strategy is CacheStrategy.UNQUANTIZED else states.clamp(-limit, limit)
        return saturated.to(dtype).to(states.dtype)
    rows = states.transpose(-1, -2) if fmt.strategy is CacheStrategy.CHANNEL else states
    matrix = rows.flatten(0, -2)
    if fmt.type is ElementType.FLOAT:
        found = fake_quantize(matrix, get_format("NVFP4"))
    elif fmt.minimum_bits:
        found = _asymmetric(matrix, fmt.group_size or matrix.shape[-1], fmt.num_bits)
    else:
        found = _symmetric(matrix, fmt.group_size or matrix.shape[-1], fmt.num_bits)
    restored: Tensor = found.view(rows.shape)
    return restored.transpose(-1, -2) if fmt.strategy is CacheStrategy.CHANNEL else restored


def _asymmetric(matrix: Tensor, width: int, num_bits: int) -> Tensor:
    """``code·scale + minimum`` by groups of a row; scale and minimum are rounded to float16 before codes are chosen.

    Unlike the zero point of a weight format, the minimum is a number of its own: a group far from zero keeps all its levels.
    """
    columns, levels = matrix.shape[1], (1 << num_bits) - 1
    padded: Tensor = torch.nn.functional.pad(matrix, (0, -columns % width), mode="replicate")
    groups = padded.view(len(matrix), -1, width)
    lowest, highest = groups.aminmax(dim=-1, keepdim=True)
    scale = ((highest - lowest) / levels).half().float()
    minimum = lowest.half().float()
    codes: Tensor = ((groups - minimum) / torch.where(scale > 0, scale, 1.0)).round_().clamp_(0, levels)
    return (codes * scale + minimum).flatten(1)[:, :columns]


def _symmetric(matrix: Tensor, width: int, num_bits: int) -> Tensor:
    """``code·scale`` by groups of a row, as ggml's Q8_0 and Q4_0 round: codes by the scale before it is rounded to float16.

    Q8_0 spans −127…127. Q4_0 spans −8…7 with the scale's sign chosen so that the element of greatest magnitude is −8.
    """
    columns = matrix.shape[1]
    groups = torch.nn.functional.pad(matrix, (0, -columns % width)).view(len(matrix), -1, width)
    place = groups.abs().argmax(dim=-1, keepdim=True)
    greatest = groups.gather(-1, place)
    if num_bits == 8:
        scale = greatest.abs() / 127
        inverse = torch.where(scale > 0, 1 / scale, 0.0)
        ratio = groups * inverse
        codes = ratio.sign() * (ratio.abs() + 0.5).floor()
    else:
        scale = greatest / -8
        inverse = torch.where(scale != 0, 1 / scale, 0.0)
        codes = (groups * inverse + 8.5).trunc().clamp(0, 15) - 8
    return (codes * scale.half().float()).flatten(1)[:, :columns]
