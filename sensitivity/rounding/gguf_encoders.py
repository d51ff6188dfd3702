"""Encoders of the block formats of GGUF: scales by search, codes by rounding with them, bytes in ggml's layout."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, final

import torch
from gguf import GGMLQuantizationType
from gguf.quants import quantize
from torch import Tensor

from sensitivity.formats.gguf import BLOCK, SUPER_BLOCK
from sensitivity.rounding import gguf_packing as packing
from sensitivity.rounding.gguf_scales import (
    BlockScales,
    Elements,
    Fit,
    IntegerScales,
    IntegerScalesAndMinima,
    one_scale,
    scale_and_minimum,
)

IQ4_LEVELS: Final = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)

Pack = Callable[[Tensor, BlockScales], Tensor]
"""Bytes of blocks from codes, uint8 (blocks, elements), and scales."""


@final
@dataclass(frozen=True, slots=True)
class BlockEncoder:
    """One type of ggml.

    Attributes:
        width: elements of a group, which share a scale.
        elements: the levels.
        fit: searches scales.
        pack: writes bytes.
    """

    width: int
    elements: Elements
    fit: Fit
    pack: Pack

    def encode(self, blocks: Tensor, importance: Tensor | None = None) -> Tensor:
        """Bytes of blocks, uint8 (blocks, bytes of a block).

        Args:
            blocks: float32 (blocks, elements), finite and within ±65504.
            importance: weights of the squared errors, of the same shape; all alike if ``None``.
        """
        scales = self.scales(blocks, importance)
        return self.write(scales.levels(self.groups(blocks), self.elements), scales)

    def scales(self, blocks: Tensor, importance: Tensor | None = None) -> BlockScales:
        """Searched scales of blocks; arguments as for ``encode``."""
        return self.fit(self.groups(blocks), None if importance is None else self.groups(importance), self.elements)

    def write(self, levels: Tensor, scales: BlockScales) -> Tensor:
        """Bytes of blocks.

        Args:
            levels: exact levels, float32 (blocks, groups, width).
            scales: of these blocks.
        """
        return self.pack(self.elements.codes(levels).flatten(1), scales)

    def groups(self, blocks: Tensor) -> Tensor:
        """Elements of blocks by group, (blocks, groups, width)."""
        return blocks.view(len(blocks), -1, self.width)


def _span(middle: float, reach: float, count: int) -> tuple[float, ...]:
    """``count`` numbers from ``middle − reach`` to ``middle + reach``, the middle first."""
    numbers = torch.linspace(middle - reach, middle + reach, count).tolist()
    return tuple(sorted(numbers, key=lambda number: abs(number - middle)))


def _signed(num_bits: int, bounds: Sequence[float]) -> Elements:
    """Levels −2^(b−1) … 2^(b−1)−1, stored with 2^(b−1) added."""
    half = 2 ** (num_bits - 1)
    return _integers(-half, half - 1, bounds)


def _integers(least: int, most: int, tries: Sequence[float]) -> Elements:
    return Elements(
        round_=lambda scaled: scaled.round_().clamp_(least, most),
        codes=lambda levels: (levels - least).to(torch.uint8),
        tries=tuple(tries),
    )


_HALF_STEPS: Final = 2
"""Midpoints of IQ4's levels are multiples of a half, so one table by halves says which level is nearest."""


@cache
def _iq4_nearest() -> Tensor:
    """Nearest level of ``(i + ½)/2 − 127``, float32."""
    levels = torch.tensor(IQ4_LEVELS, dtype=torch.float32)
    middles = (torch.arange(_HALF_STEPS * (IQ4_LEVELS[-1] - IQ4_LEVELS[0]) + 1) + 0.5) / _HALF_STEPS + IQ4_LEVELS[0]
    return levels[(middles[:, None] - levels).abs().argmin(dim=1)]


def _iq4_round_(scaled: Tensor) -> Tensor:
    cell = scaled.clamp_(IQ4_LEVELS[0], IQ4_LEVELS[-1]).sub_(IQ4_LEVELS[0]).mul_(_HALF_STEPS).int()
    return scaled.copy_(_iq4_nearest().index_select(0, cell.flatten()).view(scaled.shape))


def _iq4_codes(levels: Tensor) -> Tensor:
    return torch.bucketize(levels, torch.tensor(IQ4_LEVELS, dtype=torch.float32)).to(torch.uint8)


def _plain(write: Callable[[Tensor], Tensor]) -> Pack:
    def pack(codes: Tensor, scales: BlockScales) -> Tensor:
        units = [unit for unit in (scales.unit, scales.minimum_unit) if unit is not None]
        return torch.cat([*map(packing.halves, units), write(codes)], dim=1)

    return pack


def _minimum_below(write: Callable[[Tensor], Tensor]) -> Pack:
    """Q4_1 and Q5_1 add their minimum where K-quants subtract it."""

    def pack(codes: Tensor, scales: BlockScales) -> Tensor:
        assert scales.minimum_unit is not None  # noqa: S101  (their fit gives one)
        return torch.cat([packing.halves(scales.unit), packing.halves(-scales.minimum_unit), write(codes)], dim=1)

    return pack


def _whole(integers: Tensor | None, above: int = 0) -> Tensor:
    """Integer scales as bytes, with ``above`` added, modulo 256."""
    assert integers is not None  # noqa: S101  (the fit of a super-block gives them)
    return (integers + above).to(torch.uint8)


def _q2(codes: Tensor, scales: BlockScales) -> Tensor:
    both = _whole(scales.integers) | _whole(scales.minimum_integers) << 4
    return torch.cat([both, packing.q2_elements(codes), _both_units(scales)], dim=1)


def _q3(codes: Tensor, scales: BlockScales) -> Tensor:
    packed = packing.q3_scales(_whole(scales.integers, 32))
    return torch.cat([packing.q3_elements(codes), packed, packing.halves(scales.unit)], dim=1)


def _q4(codes: Tensor, scales: BlockScales) -> Tensor:
    return torch.cat([_both_units(scales), _both_integers(scales), packing.q4_elements(codes)], dim=1)


def _q5(codes: Tensor, scales: BlockScales) -> Tensor:
    return torch.cat([_both_units(scales), _both_integers(scales), packing.q5_elements(codes)], dim=1)


def _q6(codes: Tensor, scales: BlockScales) -> Tensor:
    return torch.cat([packing.q6_elements(codes), _whole(scales.integers, 256), packing.halves(scales.unit)], dim=1)


def _iq4_xs(codes: Tensor, scales: BlockScales) -> Tensor:
    packed = packing.iq4_scales(_whole(scales.integers, 32))
    return torch.cat([packing.halves(scales.unit), packed, packing.nibbles(codes)], dim=1)


def _both_units(scales: BlockScales) -> Tensor:
    assert scales.minimum_unit is not None  # noqa: S101  (their fit gives one)
    return torch.cat([packing.halves(scales.unit), packing.halves(scales.minimum_unit)], dim=1)


def _both_integers(scales: BlockScales) -> Tensor:
    return packing.scales_and_minima(_whole(scales.integers), _whole(scales.minimum_integers))


def _ternary(name: str) -> BlockEncoder:
    """Packed by the library, for which blocks of a float16 and its negative are exact."""

    def pack(codes: Tensor, scales: BlockScales) -> Tensor:
        exact = (codes.float() - 1) * scales.scale
        return torch.from_numpy(quantize(exact.numpy(), GGMLQuantizationType[name]))

    return BlockEncoder(SUPER_BLOCK, _integers(-1, 1, _span(2.0, 1.4, 13)), one_scale, pack)


_IQ4: Final = Elements(_iq4_round_, _iq4_codes, (*_span(-127.0, 30.0, 9), *_span(127.0, 30.0, 9)))
_FOUR_BITS: Final = _integers(0, 15, _span(15.5, 2.0, 11))
_FIVE_BITS: Final = _integers(0, 31, _span(33.0, 4.0, 13))

ENCODERS: Final[Mapping[str, BlockEncoder]] = {
    "Q2_K": BlockEncoder(16, _integers(0, 3, _span(3.3, 0.9, 13)), IntegerScalesAndMinima(15), _q2),
    "Q3_K": BlockEncoder(16, _signed(3, _span(-4.2, 1.2, 7)), IntegerScales(32), _q3),
    "Q4_K": BlockEncoder(BLOCK, _FOUR_BITS, IntegerScalesAndMinima(63), _q4),
    "Q5_K": BlockEncoder(BLOCK, _FIVE_BITS, IntegerScalesAndMinima(63), _q5),
    "Q6_K": BlockEncoder(16, _signed(6, _span(-33.0, 4.0, 13)), IntegerScales(128), _q6),
    "IQ4_NL": BlockEncoder(BLOCK, _IQ4, one_scale, _plain(packing.nibbles)),
    "IQ4_XS": BlockEncoder(BLOCK, _IQ4, IntegerScales(32), _iq4_xs),
    "Q4_0": BlockEncoder(BLOCK, _signed(4, _span(-8.4, 1.2, 9)), one_scale, _plain(packing.nibbles)),
    "Q4_1": BlockEncoder(BLOCK, _FOUR_BITS, scale_and_minimum, _minimum_below(packing.nibbles)),
    "Q5_0": BlockEncoder(BLOCK, _signed(5, _span(-16.5, 1.5, 9)), one_scale, _plain(packing.q5_block)),
    "Q5_1": BlockEncoder(BLOCK, _FIVE_BITS, scale_and_minimum, _minimum_below(packing.q5_block)),
    "Q8_0": BlockEncoder(BLOCK, _signed(8, _span(-127.5, 1.5, 7)), one_scale, _plain(packing.q8_block)),
    "TQ1_0": _ternary("TQ1_0"),
    "TQ2_0": _ternary("TQ2_0"),
}
"""By the name of the format."""
