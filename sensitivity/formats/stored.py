"""The tensors that a packing stores of one matrix: names, dtypes and shapes, without the numbers. No torch here."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from sensitivity.formats.candidate import CandidateFormat

WIDTHS: Final = {"U8": 8, "I8": 8, "F8_E4M3": 8, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64}
"""Bits of an element by dtype, in safetensors' words."""
UNQUANTIZED: Final = {"BF16": "BF16", "FP16": "F16"}
"""Dtype of each format that stores weights as they are."""
REMEMBERED: Final = 4096
"""Sizes of matrices that are kept: a model has a few shapes, a request a few formats."""


@dataclass(frozen=True, slots=True)
class StoredPart:
    """One tensor.

    Attributes:
        name: what follows the layer's name and a dot: ``weight``, ``weight_packed``, …
        dtype: in safetensors' words.
        shape: outermost dimension first; empty for a number.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def bits(self) -> int:
        """Bits of its data."""
        return math.prod(self.shape) * WIDTHS[self.dtype]


Parts = Callable[[CandidateFormat, tuple[int, int]], tuple[StoredPart, ...]]
"""Tensors of a (out, in) matrix in a format; raises ``UnsupportedShapeError`` where the packing cannot store it."""


def stored_bits(parts: Iterable[StoredPart]) -> int:
    """Bits of the data of them all."""
    return sum(part.bits for part in parts)


def as_it_is(candidate: CandidateFormat, shape: tuple[int, int]) -> tuple[StoredPart, ...]:
    """A matrix in a format that is not quantized."""
    return (StoredPart("weight", UNQUANTIZED[candidate.name], shape),)
