"""The block formats of GGUF: ggml's types, which llama.cpp stores and computes with. Free of torch and of the ``gguf`` package.

A row is cut into blocks of 32 or 256 elements, and a block is a fixed number of bytes, scales included; a row that is no whole
number of blocks cannot be stored. llama-quantize puts another type in the place of such a row's, silently: here it is refused.

Sizes are those of ``gguf.constants.GGML_QUANT_SIZES``; a test compares. ``MXFP4`` is not here, because the elements and scales
that ggml stores of it are those of the format of that name (``sensitivity.formats.floating``). Types whose codebooks need an
importance matrix (IQ1, IQ2, IQ3) have no encoder here.
"""

from dataclasses import dataclass
from typing import Final, final

from sensitivity.formats.candidate import CandidateFormat, ElementType, Strategy

SUPER_BLOCK: Final = 256
"""Elements of a super-block, whose groups of 16 or 32 elements have quantized scales."""

BLOCK: Final = 32
"""Elements of a block of the older types."""


@final
@dataclass(frozen=True, slots=True)
class BlockFormat(CandidateFormat):
    """A type of ggml. ``group_size`` is the number of elements of a block, scales of groups within it included in its bytes.

    Attributes:
        block_bytes: stored bytes of a block.
    """

    block_bytes: int = 0

    def refusal(self, shape: tuple[int, int]) -> str | None:
        """Why this format cannot store a (out, in) matrix, or ``None`` if it can: rows are whole blocks."""
        reason = CandidateFormat.refusal(self, shape)
        if reason is None and shape[1] % self.block_elements:
            return f"{self.name} stores blocks of {self.block_elements} inputs, which do not divide {shape[1]}"
        return reason

    @property
    def block_elements(self) -> int:
        """Elements of a block."""
        return self.group_size or SUPER_BLOCK

    def size_bits(self, shape: tuple[int, int]) -> int:
        """Exact stored bits of a (out, in) matrix.

        Raises:
            UnsupportedShapeError: rows are no whole blocks, or there are none.
        """
        self._require_storable(shape)
        return shape[0] * (shape[1] // self.block_elements) * self.block_bytes * 8


def _block(name: str, num_bits: int, *, elements: int, block_bytes: int, symmetric: bool = True) -> BlockFormat:
    return BlockFormat(
        name=name,
        num_bits=num_bits,
        type=ElementType.BLOCK,
        strategy=Strategy.GROUP,
        group_size=elements,
        symmetric=symmetric,
        scale_dtype="float16",
        scale_bits=0,
        block_bytes=block_bytes,
    )


FORMATS = (
    _block("Q4_0", 4, elements=BLOCK, block_bytes=18),
    _block("Q4_1", 4, elements=BLOCK, block_bytes=20, symmetric=False),
    _block("Q5_0", 5, elements=BLOCK, block_bytes=22),
    _block("Q5_1", 5, elements=BLOCK, block_bytes=24, symmetric=False),
    _block("Q8_0", 8, elements=BLOCK, block_bytes=34),
    _block("IQ4_NL", 4, elements=BLOCK, block_bytes=18),
    _block("Q2_K", 2, elements=SUPER_BLOCK, block_bytes=84, symmetric=False),
    _block("Q3_K", 3, elements=SUPER_BLOCK, block_bytes=110),
    _block("Q4_K", 4, elements=SUPER_BLOCK, block_bytes=144, symmetric=False),
    _block("Q5_K", 5, elements=SUPER_BLOCK, block_bytes=176, symmetric=False),
    _block("Q6_K", 6, elements=SUPER_BLOCK, block_bytes=210),
    _block("IQ4_XS", 4, elements=SUPER_BLOCK, block_bytes=136),
    _block("TQ1_0", 1, elements=SUPER_BLOCK, block_bytes=54),
    _block("TQ2_0", 2, elements=SUPER_BLOCK, block_bytes=66),
)
