"""Stored bits against the bytes of safetensors files that compressed-tensors itself writes, format by format."""

from pathlib import Path

import pytest
import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
from compressed_tensors.quantization.lifecycle.forward import quantize
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from planner.exports.compressed_tensors import compression_format, weight_arguments
from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.packing import compressed_tensors_refusal, compressed_tensors_size_bits
from sensitivity.formats.registry import get_format
from tests.sensitivity.compressed_tensors_reference import arguments, parameters
from tests.sensitivity.rounding.scaled_formats import IN_COMPRESSED_TENSORS

# Rows that do not fill a word of packed zero points, columns that do not fill a word of packed elements.
SHAPES = {"square": (64, 128), "odd rows": (7, 256), "odd columns": (5, 77), "one row": (1, 128)}
STORABLE = list(IN_COMPRESSED_TENSORS)


class TinyModel(nn.Module):
    """One linear of each shape."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({name: nn.Linear(shape[1], shape[0], bias=False) for name, shape in SHAPES.items()})


def written_bits(fmt: CandidateFormat, names: list[str], path: Path) -> dict[str, int]:
    """Bits of all tensors of each layer, as the library saves a bfloat16 model quantized in the format."""
    torch.manual_seed(3)
    model = TinyModel().bfloat16()
    scheme = {
        "targets": [f"layers.{name}" for name in names],
        "weights": weight_arguments(fmt),
        "format": compression_format(fmt),
    }
    config = QuantizationConfig.model_validate({"config_groups": {"only": scheme}, "format": scheme["format"]})
    apply_quantization_config(model, config, show_progress=False)
    for name in names:
        linear = model.layers[name]
        scale, zero_point, global_scale = parameters(linear.get_parameter("weight").detach().float(), fmt)
        for key, value in (("scale", scale), ("zero_point", zero_point), ("global_scale", global_scale)):
            if value is not None:
                target = getattr(linear, f"weight_{key}")
                target.data.copy_(value.reshape(target.shape))
    ModelCompressor(quantization_config=config).compress_model(model)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    return stored_bits(path, names)


def stored_bits(path: Path, names: list[str]) -> dict[str, int]:
    bits = dict.fromkeys(names, 0)
    with safe_open(path, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118  (a safetensors file is no mapping)
            name = key.split(".")[1]
            tensor = file.get_tensor(key)
            if name in bits:
                bits[name] += tensor.numel() * tensor.element_size() * 8
    return bits


@pytest.mark.parametrize("fmt", [fmt for fmt in STORABLE if fmt.is_quantized], ids=lambda fmt: fmt.name)
def test_size_equals_the_bytes_written(fmt: CandidateFormat, tmp_path: Path) -> None:
    names = [name for name, shape in SHAPES.items() if compressed_tensors_refusal(fmt, shape) is None]
    assert names, "every format must be tried on at least one shape"
    expected = {name: compressed_tensors_size_bits(fmt, SHAPES[name]) for name in names}
    assert written_bits(fmt, names, tmp_path / "model.safetensors") == expected


@pytest.mark.parametrize("name", ["BF16", "FP16"])
def test_unquantized_layers_take_16_bits(name: str) -> None:
    assert compressed_tensors_size_bits(get_format(name), (7, 77)) == 7 * 77 * 16


@pytest.mark.parametrize("fmt", [fmt for fmt in STORABLE if fmt.group_size], ids=lambda fmt: fmt.name)
def test_the_library_refuses_ragged_groups_and_so_do_we(fmt: CandidateFormat) -> None:
    reason = compressed_tensors_refusal(fmt, SHAPES["odd columns"])
    assert reason is not None
    assert f"divisible by {fmt.group_size}" in reason
    with pytest.raises(UnsupportedShapeError, match="divisible by"):
        compressed_tensors_size_bits(fmt, SHAPES["odd columns"])
    weight = torch.ones(SHAPES["odd columns"])
    scale = torch.ones(weight.shape[0], -(-weight.shape[1] // (fmt.group_size or 1)))
    with pytest.raises(ValueError, match="divisble"):  # spelt so
        quantize(weight, scale, torch.zeros_like(scale), arguments(fmt))


def test_formats_that_the_library_does_not_have() -> None:
    assert compressed_tensors_refusal(get_format("NF4_G64"), (64, 64)) == "compressed-tensors has no NF4_G64"
    with pytest.raises(UnsupportedShapeError, match="no NF4_G64"):
        compressed_tensors_size_bits(get_format("NF4_G64"), (64, 64))


def test_per_channel_has_no_padding_of_groups() -> None:
    assert compressed_tensors_refusal(get_format("INT3_CHANNEL_ASYM"), SHAPES["odd columns"]) is None
