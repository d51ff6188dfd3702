"""Keys and values in a cache format by plain numpy code, group by group, with tables of all numbers of a small float."""

import numpy as np
from numpy.typing import NDArray

from sensitivity.formats.kv_cache import CacheStrategy, KVCacheFormat

E2M1 = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
E4M3 = np.array([m / 512 for m in range(8)] + [2.0 ** (e - 7) * (1 + m / 8) for e in range(1, 16) for m in range(8)][:-1])
"""Magnitudes: the last pattern of E4M3 is no number."""

Array = NDArray[np.floating]


def decoded(states: Array, fmt: KVCacheFormat) -> NDArray[np.float64]:
    """States of shape (heads, length, head_dim)."""
    single = states.astype(np.float32)
    if fmt.num_bits == 16:
        dropped = 1 << 16  # what bfloat16 cuts off a float32 mantissa
        bits = single.view(np.uint32).astype(np.uint64)
        rounded = ((bits + (dropped >> 1)) // dropped * dropped).astype(np.uint32).view(np.float32)
        return (single.astype(np.float16) if fmt.element_dtype == "float16" else rounded).astype(np.float64)
    if fmt.element_dtype is not None:
        return _nearest(single.astype(np.float64), E4M3)
    if fmt.strategy is CacheStrategy.CHANNEL:
        return _grouped(single.swapaxes(1, 2), fmt).swapaxes(1, 2)
    return _grouped(single, fmt)


def _grouped(rows: Array, fmt: KVCacheFormat) -> NDArray[np.float64]:
    result = np.empty(rows.shape)
    greatest = float(np.abs(rows).max())
    width = fmt.group_size or rows.shape[-1]
    for row in np.ndindex(rows.shape[:-1]):
        for first in range(0, rows.shape[-1], width):
            part = (*row, slice(first, first + width))
            group = rows[part].astype(np.float64)
            if fmt.minimum_bits:
                result[part] = _integers(group, fmt.num_bits)
            else:
                result[part] = _signed(group, fmt.num_bits) if fmt.tensor_bits == 0 else _nvfp4(group, greatest)
    return result


def _integers(group: Array, num_bits: int) -> NDArray[np.float64]:
    levels = 2**num_bits - 1
    scale = float(np.float16((group.max() - group.min()) / levels))
    minimum = float(np.float16(group.min()))
    codes = np.zeros_like(group) if scale == 0 else np.rint((group - minimum) / scale)
    return codes.clip(0, levels) * scale + minimum


def _signed(group: Array, num_bits: int) -> NDArray[np.float64]:
    """Q8_0 and Q4_0 of ggml, which computes them in float32."""
    single = group.astype(np.float32)
    greatest = single[np.abs(single).argmax()]
    step = np.float32(abs(greatest) / np.float32(127) if num_bits == 8 else greatest / np.float32(-8))
    ratio = single * (np.float32(1) / step) if step else np.zeros_like(single)
    if num_bits == 8:
        codes = np.sign(ratio) * np.floor(np.abs(ratio) + np.float32(0.5))
    else:
        codes = np.trunc(ratio + np.float32(8.5)).clip(0, 15) - 8
    return codes.astype(np.float64) * float(np.float16(step))


def _nvfp4(group: Array, greatest: float) -> NDArray[np.float64]:
    whole = 448 * 6 / greatest
    scale = float(_nearest(np.array([whole * np.abs(group).max() / 6]), E4M3)[0]) / whole
    return _nearest(group / scale, E2M1) * scale


def _nearest(values: Array, magnitudes: Array) -> NDArray[np.float64]:
    found = magnitudes[np.abs(np.abs(values)[..., None] - magnitudes).argmin(axis=-1)]
    result: NDArray[np.float64] = np.copysign(found, values)
    return result
