"""Linear layers on the kernels that torch has for a processor, one for each format of the runtime ``torch-cpu``."""

from typing import Final, final

import torch
from torch import Tensor, nn

from planner.errors import InvalidRequestError
from planner.runtimes.torch_cpu import RUNTIME
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import Strategy
from sensitivity.formats.registry import get_format
from sensitivity.rounding.codec import Encoded

ACTIVATIONS: Final = torch.bfloat16


@final
class PlainLinear(nn.Module):
    """``x·Wᵀ + b`` in the dtype of the weight."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight = nn.Buffer(weight)
        self.bias = None if bias is None else nn.Buffer(bias.to(weight.dtype))

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (…, out) of inputs (…, in) of any float dtype, in the dtype of the inputs."""
        return nn.functional.linear(inputs.to(self.weight.dtype), self.weight, self.bias).to(inputs.dtype)


@final
class Int8Linear(nn.Module):
    """Int8 weights with a bfloat16 scale for each output; activations stay bfloat16."""

    def __init__(self, codes: Tensor, scales: Tensor, bias: Tensor | None = None) -> None:
        """A layer.

        Args:
            codes: int8 (out, in).
            scales: bfloat16 (out,).
            bias: (out,), or ``None``.
        """
        super().__init__()
        self.codes, self.scales = nn.Buffer(codes), nn.Buffer(scales)
        self.bias = None if bias is None else nn.Buffer(bias.to(ACTIVATIONS))

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (…, out) of inputs (…, in) of any float dtype, in the dtype of the inputs."""
        rows = inputs.reshape(-1, inputs.shape[-1]).to(ACTIVATIONS)
        found: Tensor = torch.ops.aten._weight_int8pack_mm(rows, self.codes, self.scales)
        return _as_asked(found, inputs, self.bias)


@final
class Int4Linear(nn.Module):
    """Int4 weights with a bfloat16 scale for each group of inputs; activations stay bfloat16."""

    def __init__(self, codes: Tensor, scales: Tensor, group_size: int, bias: Tensor | None = None) -> None:
        """A layer.

        Args:
            codes: int8 (out, in), from −8 to 7.
            scales: bfloat16 (out, groups).
            group_size: inputs of a group.
            bias: (out,), or ``None``.
        """
        super().__init__()
        packed: Tensor = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes.to(torch.int32) + _INT4_MIDDLE, 1)
        self.packed = nn.Buffer(packed)
        self.scales_and_zeros = nn.Buffer(torch.stack([scales, torch.zeros_like(scales)], dim=-1).transpose(0, 1).contiguous())
        self.group_size = group_size
        self.bias = None if bias is None else nn.Buffer(bias.to(ACTIVATIONS))

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (…, out) of inputs (…, in) of any float dtype, in the dtype of the inputs."""
        rows = inputs.reshape(-1, inputs.shape[-1]).to(ACTIVATIONS)
        found: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, self.packed, self.group_size, self.scales_and_zeros)
        return _as_asked(found, inputs, self.bias)


_INT4_MIDDLE: Final = 8


def _as_asked(rows: Tensor, inputs: Tensor, bias: Tensor | None) -> Tensor:
    found = rows if bias is None else rows + bias
    return found.reshape(*inputs.shape[:-1], -1).to(inputs.dtype)


def kernel_linear(encoded: Encoded, bias: Tensor | None = None) -> nn.Module:
    """A linear layer on the kernel of its format.

    Args:
        encoded: the weight in a format of the runtime ``torch-cpu``.
        bias: (out,), or ``None``.

    Raises:
        InvalidRequestError: torch has no kernel for this format and shape.
    """
    fmt, scaling = get_format(encoded.format.name), encoded.scaling
    reason = RUNTIME.refusal(fmt, Layer("", "", None, None, *encoded.shape))
    if reason is not None:
        raise InvalidRequestError(reason)
    if scaling is None:
        return PlainLinear(encoded.codes, bias)
    if fmt.strategy is Strategy.CHANNEL:
        return Int8Linear(encoded.codes, scaling.stored.flatten(), bias)
    return Int4Linear(encoded.codes, scaling.stored, fmt.group_size or encoded.shape[1], bias)
