"""compressed-tensors' own arithmetic, called in float32 with scales of the stored dtype."""

import torch
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import fake_quantize as reference_fake_quantize
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
from torch import Tensor

from sensitivity.formats.candidate import CandidateFormat, Strategy

SCALE_DTYPES = {"bfloat16": torch.bfloat16, "float8_e4m3fn": torch.float8_e4m3fn, "float8_e8m0fnu": torch.uint8}


def arguments(fmt: CandidateFormat) -> QuantizationArgs:
    assert fmt.scale_dtype is not None
    return QuantizationArgs(
        num_bits=fmt.num_bits,
        type=fmt.type.value,
        symmetric=fmt.symmetric,
        strategy=fmt.strategy.value,
        group_size=fmt.group_size,
        scale_dtype=SCALE_DTYPES[fmt.scale_dtype],
    )


def parameters(weight: Tensor, fmt: CandidateFormat) -> tuple[Tensor, Tensor, Tensor | None]:
    """Scale, zero point and global scale as compressed-tensors computes them."""
    args = arguments(fmt)
    global_scale = generate_gparam(weight.min(), weight.max()) if fmt.strategy is Strategy.TENSOR_GROUP else None
    if fmt.strategy is Strategy.TENSOR:
        scale, zero_point = calculate_qparams(weight.min(), weight.max(), args)
    else:
        groups = weight.reshape(len(weight), -1, fmt.group_size or weight.shape[1])
        scale, zero_point = calculate_qparams(groups.amin(-1), groups.amax(-1), args, global_scale=global_scale)
    return scale, zero_point, global_scale


def fake_quantized(weight: Tensor, fmt: CandidateFormat) -> Tensor:
    weight = weight.float()
    scale, zero_point, global_scale = parameters(weight, fmt)
    found = reference_fake_quantize(weight, scale, zero_point, arguments(fmt), global_scale=global_scale)
    assert isinstance(found, Tensor)
    return found
