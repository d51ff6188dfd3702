"""Floating-point elements: E4M3 with a bfloat16 scale (FP8), E2M1 in NVFP4 and in MXFP4.

Rounding to a small float needs no table: adding and taking off ``1.5·2^(23+e−m)``, where e is the element's exponent
(not less than the least normal one) and m the mantissa bits kept, leaves the nearest multiple of ``2^(e−m)`` in float32,
ties to even.
"""

import torch
from torch import Tensor

from sensitivity.formats.candidate import CandidateFormat, ElementType, Strategy
from sensitivity.rounding.codec import SHRINKS, AbstractCodec, Scaling, absmax_scale

E4M3 = torch.float8_e4m3fn
E4M3_GREATEST = 448.0
E2M1_GREATEST = 6.0
E2M1_LEVELS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
# E2M1 holds exponents up to 2, so the scale's exponent lies 2 below that of the greatest magnitude.
E2M1_EXPONENT = 2
NVFP4_EPSILON = 0.125
NVFP4_STRETCHES = (1.5, 1.4, 1.3, 1.2, 1.1)
_EXPONENT_MASK = 0x7F800000
_HALF_BIT = 0x00400000


def round_to_float_(scaled: Tensor, *, mantissa: int, least_exponent: int) -> Tensor:
    """Round float32 elements in place to ``mantissa`` bits (ties to even), denormal below ``2^least_exponent``.

    The elements must already lie within the range of the small type.
    """
    magic = scaled.view(torch.int32) & _EXPONENT_MASK
    magic.clamp_(min=(least_exponent + 127) << 23).add_(((23 - mantissa) << 23) | _HALF_BIT)
    offset = magic.view(torch.float32)
    return scaled.add_(offset).sub_(offset)


class Float8Codec(AbstractCodec):
    """E4M3 elements, one bfloat16 scale per channel or per tensor."""

    def handles(self, fmt: CandidateFormat) -> bool:
        """8-bit floats with scales in bfloat16."""
        return fmt.type is ElementType.FLOAT and fmt.num_bits == 8 and fmt.scale_dtype == "bfloat16"

    def scaling(self, lowest: Tensor, highest: Tensor, fmt: CandidateFormat) -> Scaling:
        """Absmax / 448."""
        return absmax_scale(torch.maximum(-lowest, highest), E4M3_GREATEST, torch.bfloat16)

    def shrinks(self, fmt: CandidateFormat) -> tuple[float, ...]:
        """None: the relative precision of these elements is the same at every scale."""
        return ()

    def round_(self, scaled: Tensor, fmt: CandidateFormat) -> Tensor:
        """Nearest E4M3 number, clamped to ±448."""
        return round_to_float_(scaled.clamp_(-E4M3_GREATEST, E4M3_GREATEST), mantissa=3, least_exponent=-6)

    def codes(self, levels: Tensor, fmt: CandidateFormat) -> Tensor:
        """The levels as float8_e4m3fn."""
        return levels.to(E4M3)

    def levels(self, codes: Tensor, fmt: CandidateFormat) -> Tensor:
        """The codes as float32."""
        return codes.float()


class _Float4Codec(AbstractCodec):
    """E2M1 elements; codes are uint8: sign in bit 3, index of the magnitude below it."""

    def round_(self, scaled: Tensor, fmt: CandidateFormat) -> Tensor:
        """Nearest E2M1 number, ties to an even mantissa, clamped to ±6."""
        return round_to_float_(scaled.clamp_(-E2M1_GREATEST, E2M1_GREATEST), mantissa=1, least_exponent=0)

    def codes(self, levels: Tensor, fmt: CandidateFormat) -> Tensor:
        """Sign and index of the magnitude; zero is always positive."""
        magnitude = torch.bucketize(levels.abs(), torch.tensor(E2M1_LEVELS, device=levels.device), out_int32=True)
        return magnitude.to(torch.uint8) | (levels < 0).to(torch.uint8).mul_(8)

    def levels(self, codes: Tensor, fmt: CandidateFormat) -> Tensor:
        """Table look-up."""
        table = torch.tensor(E2M1_LEVELS + tuple(-level for level in E2M1_LEVELS), device=codes.device)
        return table.take(codes.long())


class NvFloat4Codec(_Float4Codec):
    """NVFP4: an E4M3 scale per 16 elements under a float32 scale of the tensor."""

    def handles(self, fmt: CandidateFormat) -> bool:
        """4-bit floats under two scales."""
        return fmt.type is ElementType.FLOAT and fmt.num_bits == 4 and fmt.strategy is Strategy.TENSOR_GROUP

    def scaling(self, lowest: Tensor, highest: Tensor, fmt: CandidateFormat) -> Scaling:
        """Global scale 448·6/absmax of the tensor; local scale E4M3(global·absmax/6); effective = local/global.

        The global scale is 1 where the tensor is so small that it would overflow, as in compressed-tensors.
        """
        absmax = torch.maximum(-lowest, highest)
        greatest = absmax.max().clamp(min=torch.finfo(torch.float32).tiny)
        global_scale = (E4M3_GREATEST * E2M1_GREATEST / greatest).nan_to_num(posinf=1.0).reshape(1)
        return self._local(absmax, global_scale)

    def shrinks(self, fmt: CandidateFormat) -> tuple[float, ...]:
        """Beside smaller scales, larger ones: at 1.5 the greatest magnitude lies on 4, where levels are closer than at 6."""
        return (*NVFP4_STRETCHES, *SHRINKS[:9])

    def shrunk(self, lowest: Tensor, highest: Tensor, fmt: CandidateFormat, *, factor: Tensor | float, like: Scaling) -> Scaling:
        """Local scales of the shrunk extremes under the global scale of the whole tensor."""
        assert like.global_scale is not None  # noqa: S101  (every scaling of this codec has one)
        return self._local(torch.maximum(-lowest, highest) * factor, like.global_scale)

    def _local(self, absmax: Tensor, global_scale: Tensor) -> Scaling:
        stored = (global_scale * (absmax / E2M1_GREATEST)).clamp(max=E4M3_GREATEST).to(E4M3)
        local = stored.float()
        local[local == 0] = NVFP4_EPSILON
        return Scaling(local.to(E4M3), local / global_scale, global_scale=global_scale)


class MxFloat4Codec(_Float4Codec):
    """MXFP4: a power of two per 32 elements, stored as the biased exponent in a byte (OCP MX 1.0, E8M0)."""

    def handles(self, fmt: CandidateFormat) -> bool:
        """4-bit floats under a power of two."""
        return fmt.type is ElementType.FLOAT and fmt.num_bits == 4 and fmt.scale_dtype == "float8_e8m0fnu"

    def scaling(self, lowest: Tensor, highest: Tensor, fmt: CandidateFormat) -> Scaling:
        """Exponent of absmax, raised by one where absmax would round past 6, minus 2.

        The rule is compressed-tensors': a quarter of the leading bit's weight is added before the exponent is taken.
        """
        absmax = torch.maximum(-lowest, highest)
        bits = absmax.view(torch.int32) + (1 << 21)
        exponent = (bits >> 23).sub_(E2M1_EXPONENT).clamp_(min=0)
        return Scaling(exponent.to(torch.uint8), _power_of_two(exponent))

    def shrinks(self, fmt: CandidateFormat) -> tuple[float, ...]:
        """The exponents beside the rule's."""
        return (0.5, 2.0)


def _power_of_two(exponent: Tensor) -> Tensor:
    """``2^(exponent − 127)`` in float32 from int32 biased exponents; exponent 0 is the denormal 2^−127."""
    return torch.where(exponent > 0, exponent << 23, torch.full_like(exponent, _HALF_BIT)).view(torch.float32)


CODECS = (Float8Codec(), NvFloat4Codec(), MxFloat4Codec())
