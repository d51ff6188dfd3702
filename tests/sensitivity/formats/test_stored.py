"""What a packing says that it stores is what it stores: names, dtypes, shapes and bits of real tensors."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from planner.worker.checkpoint_writers.autoround import half_scales
from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.packing import compressed_tensors_parts, compressed_tensors_refusal, compressed_tensors_size_bits
from sensitivity.formats.packing_gptq import (
    autoround_parts,
    autoround_size_bits,
    gptq_refusal,
    gptqmodel_parts,
    gptqmodel_size_bits,
)
from sensitivity.formats.packing_hqq import hqq_parts, hqq_refusal, hqq_size_bits
from sensitivity.formats.packing_mlx import mlx_parts, mlx_refusal, mlx_size_bits
from sensitivity.formats.packing_modelopt import modelopt_parts, modelopt_refusal, modelopt_size_bits
from sensitivity.formats.packing_quanto import quanto_parts, quanto_refusal, quanto_size_bits
from sensitivity.formats.packing_torchao import torchao_parts, torchao_refusal, torchao_size_bits
from sensitivity.formats.registry import all_formats, get_format
from sensitivity.formats.stored import Parts, stored_bits
from sensitivity.rounding import Encoded, encode
from sensitivity.rounding.packing import compressed_tensors
from sensitivity.rounding.packing_gptq import autoround, gptqmodel, gptqmodel_planar
from sensitivity.rounding.packing_hqq import hqq
from sensitivity.rounding.packing_mlx import mlx
from sensitivity.rounding.packing_modelopt import modelopt
from sensitivity.rounding.packing_quanto import quanto
from sensitivity.rounding.packing_torchao import torchao

DTYPES = {
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int32: "I32",
    torch.uint32: "U32",
    torch.float32: "F32",
    torch.int64: "I64",
}
SHAPES = [(32, 64), (64, 192), (96, 256), (8, 96)]


def autoround_halves(encoded: Encoded) -> Mapping[str, Tensor]:
    found = autoround(encoded)
    return {name: half_scales(name, tensor) if name == "scales" else tensor for name, tensor in found.items()}


PACKINGS = {
    "compressed-tensors": (
        compressed_tensors_parts,
        compressed_tensors,
        compressed_tensors_refusal,
        compressed_tensors_size_bits,
    ),
    "autoround": (autoround_parts, autoround_halves, gptq_refusal, autoround_size_bits),
    "gptqmodel": (gptqmodel_parts, gptqmodel, gptq_refusal, gptqmodel_size_bits),
    "gptqmodel planar": (gptqmodel_parts, gptqmodel_planar, gptq_refusal, gptqmodel_size_bits),
    "hqq": (hqq_parts, hqq, hqq_refusal, hqq_size_bits),
    "mlx": (mlx_parts, mlx, mlx_refusal, mlx_size_bits),
    "modelopt": (modelopt_parts, modelopt, modelopt_refusal, modelopt_size_bits),
    "quanto": (quanto_parts, quanto, quanto_refusal, quanto_size_bits),
    "torchao": (torchao_parts, torchao, torchao_refusal, torchao_size_bits),
}


@pytest.mark.parametrize("name", PACKINGS)
@pytest.mark.parametrize("shape", SHAPES)
def test_parts_are_the_tensors_that_are_packed(name: str, shape: tuple[int, int]) -> None:
    parts, pack, refusal, size_bits = PACKINGS[name]
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    legal = [fmt for fmt in all_formats() if refusal(fmt, shape) is None]
    for fmt in legal:
        found = {part.name: (part.dtype, part.shape) for part in parts(fmt, shape)}
        packed = pack(encode(weight, fmt))
        assert found == {key: (DTYPES[tensor.dtype], tuple(tensor.shape)) for key, tensor in packed.items()}, fmt.name
        bits = 8 * sum(tensor.numel() * tensor.element_size() for tensor in packed.values())
        assert bits == stored_bits(parts(fmt, shape)) == size_bits(fmt, shape), fmt.name
    assert legal


@pytest.mark.parametrize("name", PACKINGS)
def test_what_cannot_be_stored_has_no_parts(name: str) -> None:
    parts: Parts = PACKINGS[name][0]
    with pytest.raises(UnsupportedShapeError):
        parts(get_format("NF4_G64"), (64, 64))
