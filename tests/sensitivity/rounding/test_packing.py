"""Packed tensors equal those of compressed-tensors' own compressors, and its decompressors give back our weights."""

import pytest
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from compressed_tensors.quantization import QuantizationScheme
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from planner.exports.compressed_tensors import compression_format, weight_arguments
from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.candidate import CandidateFormat, ElementType
from sensitivity.formats.packing import compressed_tensors_size_bits
from sensitivity.formats.registry import get_format
from sensitivity.rounding import encode, fake_quantize
from sensitivity.rounding.packing import compressed_tensors, pack_words
from tests.sensitivity.compressed_tensors_reference import parameters
from tests.sensitivity.rounding.scaled_formats import IN_COMPRESSED_TENSORS

STORABLE = [fmt for fmt in IN_COMPRESSED_TENSORS if fmt.is_quantized]
by_format = pytest.mark.parametrize("fmt", STORABLE, ids=lambda fmt: fmt.name)


def matrix(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows)) * 0.05


def library(fmt: CandidateFormat) -> tuple[type[BaseCompressor], QuantizationScheme]:
    scheme = QuantizationScheme(targets=["x"], weights=weight_arguments(fmt), format=compression_format(fmt))
    return BaseCompressor.get_value_from_registry(compression_format(fmt)), scheme


@by_format
def test_tensors_are_those_of_the_librarys_compressor(fmt: CandidateFormat) -> None:
    weight = matrix(7, 256)
    compressor, scheme = library(fmt)
    scale, zero_point, global_scale = parameters(weight, fmt)
    state = {"weight": weight, "weight_scale": scale, "weight_zero_point": zero_point}
    if global_scale is not None:
        state["weight_global_scale"] = global_scale
    reference = compressor.compress(state, scheme)
    ours = compressed_tensors(encode(weight, fmt))
    assert set(ours) == set(reference)
    for name, tensor in ours.items():
        assert tensor.shape == reference[name].shape, name
        if fmt.type is ElementType.INT or name != ("weight" if fmt.num_bits == 8 else "weight_packed"):
            assert torch.equal(tensor.float(), reference[name].float()), name  # float codes differ in the sign of zeros


@by_format
def test_the_librarys_decompressor_gives_back_our_weights(fmt: CandidateFormat) -> None:
    weight = matrix(6, 128)
    compressor, scheme = library(fmt)
    stored = compressed_tensors(encode(weight, fmt))
    found = compressor.decompress(stored, scheme)["weight"]
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, fake_quantize(weight, fmt).bfloat16())


@by_format
def test_stored_bits_are_the_predicted_ones(fmt: CandidateFormat) -> None:
    for rows, columns in ((7, 256), (33, 128)):
        stored = compressed_tensors(encode(matrix(rows, columns), fmt))
        bits = sum(tensor.numel() * tensor.element_size() * 8 for tensor in stored.values())
        assert bits == compressed_tensors_size_bits(fmt, (rows, columns))


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 8), st.integers(1, 5), st.integers(1, 70))
def test_words_are_packed_as_the_library_packs_them(data: st.DataObject, num_bits: int, rows: int, columns: int) -> None:
    half = 1 << (num_bits - 1)
    flat = data.draw(st.lists(st.integers(-half, half - 1), min_size=rows * columns, max_size=rows * columns))
    codes = torch.tensor(flat, dtype=torch.int8).reshape(rows, columns)
    assert torch.equal(pack_words(codes, num_bits), pack_to_int32(codes, num_bits))


def test_what_the_library_cannot_store_is_refused() -> None:
    with pytest.raises(UnsupportedShapeError, match="no NF4"):
        compressed_tensors(encode(matrix(2, 64), get_format("NF4_G64")))
    with pytest.raises(UnsupportedShapeError, match="divisible by 64"):
        compressed_tensors(encode(matrix(2, 65), get_format("INT4_G64")))


def test_unquantized_layers_are_one_tensor() -> None:
    found = compressed_tensors(encode(matrix(2, 3), get_format("BF16")))
    assert list(found) == ["weight"]
    assert found["weight"].dtype == torch.bfloat16
