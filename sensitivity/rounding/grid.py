"""The grid of a format with its scales chosen, for methods that round a matrix column by column.

A weight is ``(level − offset)·scale``, where scale and offset are those of its group; whatever stores them, the sweep of a
method sees only these numbers and the rounding to levels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor

from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.gguf import BlockFormat
from sensitivity.rounding.codec import Encoded, Scaling
from sensitivity.rounding.gguf import block_scales, encode_levels
from sensitivity.rounding.gguf_encoders import ENCODERS
from sensitivity.rounding.groups import group_width
from sensitivity.rounding.registry import codec_for
from sensitivity.rounding.searched import scalings

NO_SCALE: Final = 1e-20
"""Stands for a stored scale of 0: whatever the level, the weight is its group's minimum, or nothing."""


@final
@dataclass(frozen=True, slots=True)
class Grid:
    """Levels of one matrix in one format.

    Attributes:
        scale: float32 (out, groups); one row, or one group, serves all. Never zero.
        offset: of the same shape, or ``None`` for 0.
        width: columns of a group.
        round_: scaled elements, offset added, to the nearest levels, in place.
        encode: codes of a matrix of exact levels, float32 (out, in).
    """

    scale: Tensor
    offset: Tensor | None
    width: int
    round_: Callable[[Tensor], Tensor]
    encode: Callable[[Tensor], Encoded]

    def by_column(self, columns: Tensor, rows: slice) -> tuple[Tensor, Tensor | float]:
        """Scale and offset of each element of some columns, shape (columns, rows), or (columns, 1) where one row serves all."""
        group = columns // self.width if self.scale.shape[1] > 1 else torch.zeros_like(columns)
        here = rows if len(self.scale) > 1 else slice(None)
        offset = 0.0 if self.offset is None else self.offset[here].T[group]
        return self.scale[here].T[group], offset


def grids(weight: Tensor, formats: Sequence[CandidateFormat]) -> list[Grid | None]:
    """Grids with searched scales, in the order of the formats; ``None`` for unquantized ones.

    Args:
        weight: any float dtype, shape (out, in).
        formats: candidate formats.

    Raises:
        UnsupportedShapeError: a format cannot store this shape.
        CorruptCheckpointError: a weight is NaN or infinite.
    """
    scaled = [fmt for fmt in formats if not isinstance(fmt, BlockFormat)]
    found = dict(zip(scaled, scalings(weight, scaled), strict=True))
    return [_of_blocks(weight, fmt) if isinstance(fmt, BlockFormat) else _of_scaling(weight, fmt, found[fmt]) for fmt in formats]


def _of_scaling(weight: Tensor, fmt: CandidateFormat, scaling: Scaling | None) -> Grid | None:
    if scaling is None:
        return None
    codec, shape = codec_for(fmt), (weight.shape[0], weight.shape[1])
    return Grid(
        scale=scaling.effective,
        offset=None if scaling.zero_point is None else scaling.zero_point.float(),
        width=group_width(fmt, shape[1]),
        round_=lambda scaled: codec.round_(scaled, fmt),
        encode=lambda levels: Encoded(fmt, shape, codec.codes(levels, fmt).contiguous(), scaling),
    )


def _of_blocks(weight: Tensor, fmt: BlockFormat) -> Grid:
    scales, encoder = block_scales(weight, fmt), ENCODERS[fmt.name]
    scale = torch.where(scales.scale == 0, NO_SCALE, scales.scale).view(len(weight), -1)
    return Grid(
        scale=scale,
        offset=None if scales.minimum is None else scales.minimum.view(scale.shape) / scale,
        width=encoder.width,
        round_=encoder.elements.round_,
        encode=lambda levels: encode_levels(levels, fmt, scales),
    )
