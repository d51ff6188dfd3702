"""Integer elements: levels −2^(b−1) … 2^(b−1)−1.

Symmetric: scale = absmax / ((2^b − 1)/2). Asymmetric: scale = (highest − lowest)/(2^b − 1) and the zero point that puts
``lowest`` on the least level, so that 0 is a level too. Both are compressed-tensors' rules.
"""

import torch
from torch import Tensor

from sensitivity.formats.candidate import CandidateFormat, ElementType
from sensitivity.rounding.codec import SHRINKS, AbstractCodec, Scaling, absmax_scale, stored_scale


class IntegerCodec(AbstractCodec):
    """INT 2–8, symmetric and asymmetric; codes are int8."""

    def handles(self, fmt: CandidateFormat) -> bool:
        """Integer elements."""
        return fmt.type is ElementType.INT

    def scaling(self, lowest: Tensor, highest: Tensor, fmt: CandidateFormat) -> Scaling:
        """Scales in bfloat16; zero points come from the unrounded scale, as compressed-tensors does."""
        steps = 2.0**fmt.num_bits - 1
        if fmt.symmetric:
            return absmax_scale(torch.maximum(-lowest, highest), steps / 2, torch.bfloat16)
        scale = (highest - lowest) / steps
        least, most = _range(fmt)
        zero_point = (least - lowest / scale).nan_to_num_(nan=0.0).clamp_(least, most).round_()
        return stored_scale(scale, torch.bfloat16, zero_point.to(torch.int8))

    def shrinks(self, fmt: CandidateFormat) -> tuple[float, ...]:
        """For symmetric formats each factor with both signs, and the one that puts the greatest magnitude on −2^(b−1).

        The more levels there are, the less clipping pays.
        """
        shrinks = SHRINKS[: {2: 13, 3: 13, 4: 13, 5: 6}.get(fmt.num_bits, 3)]
        if not fmt.symmetric:
            return shrinks
        factors = (1 - 0.5**fmt.num_bits, *shrinks)
        return factors + tuple(-factor for factor in factors)

    def shrunk(self, lowest: Tensor, highest: Tensor, fmt: CandidateFormat, *, factor: Tensor | float, like: Scaling) -> Scaling:
        """A negative factor gives a negative scale: the code −2^(b−1), which has no counterpart, lies on the other side.

        Symmetric formats only. A stored scale has a sign bit, and ``code·scale`` is the same product for engines.
        """
        if not fmt.symmetric:
            return self.scaling(lowest * factor, highest * factor, fmt)
        factor = torch.as_tensor(factor)
        found = self.scaling(lowest * factor.abs(), highest * factor.abs(), fmt)
        sign = torch.where(factor < 0, -1.0, 1.0)
        return Scaling(found.stored * sign.to(found.stored.dtype), found.effective * sign)

    def round_(self, scaled: Tensor, fmt: CandidateFormat) -> Tensor:
        """Nearest integer, ties to even, clamped."""
        return scaled.round_().clamp_(*_range(fmt))

    def codes(self, levels: Tensor, fmt: CandidateFormat) -> Tensor:
        """The levels as int8."""
        return levels.to(torch.int8)

    def levels(self, codes: Tensor, fmt: CandidateFormat) -> Tensor:
        """The codes as float32."""
        return codes.float()


def _range(fmt: CandidateFormat) -> tuple[float, float]:
    half = 2.0 ** (fmt.num_bits - 1)
    return -half, half - 1


CODECS = (IntegerCodec(),)
