"""Packed rows of quanto and of HQQ against decoders in plain torch. The libraries themselves read them in tests/exports."""

import pytest
import torch
from torch import Tensor

from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.packing_hqq import HQQ_BITS, hqq_refusal, hqq_size_bits
from sensitivity.formats.packing_quanto import quanto_group_size, quanto_refusal, quanto_size_bits
from sensitivity.formats.registry import all_formats, get_format
from sensitivity.rounding import encode, fake_quantize
from sensitivity.rounding.packing_hqq import hqq
from sensitivity.rounding.packing_quanto import quanto

QUANTO = {"INT4_G128": 256, "INT2_G128": 384, "INT4_G64": 320, "INT2_G32": 160, "INT4_CHANNEL": 96}
HQQ = [get_format(f"INT{bits}_{group}_ASYM") for bits in HQQ_BITS for group in ("G32", "G64", "G128", "CHANNEL")]


def matrix(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows)) * 0.05 + 0.02


def stored_bits(stored: dict[str, Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() * 8 for tensor in stored.values())


def unpacked(packed: Tensor, bits: int, parts: int, rows: int, *, highest_first: bool) -> Tensor:
    """Part after part of the rows, each at its place in the stored units."""
    units = packed.to(torch.int64)
    places = reversed(range(parts)) if highest_first else range(parts)
    return torch.cat([units >> (place * bits) & ((1 << bits) - 1) for place in places])[:rows].float()


@pytest.mark.parametrize("name", QUANTO)
@pytest.mark.parametrize("rows", [4, 7])
def test_quanto_decodes_our_weights(name: str, rows: int) -> None:
    fmt, weight = get_format(name), matrix(rows, QUANTO[name])
    stored = quanto(encode(weight, fmt))
    scale, shift = stored["weight._scale"].float(), stored["weight._shift"].float()
    codes = unpacked(stored["weight._data._data"], fmt.num_bits, 8 // fmt.num_bits, len(scale), highest_first=False)
    assert torch.equal((codes * scale - shift).reshape(weight.shape), fake_quantize(weight, fmt))
    assert stored_bits(stored) == quanto_size_bits(fmt, (rows, QUANTO[name]))


@pytest.mark.parametrize("name", ["INT8_CHANNEL", "FP8"])
def test_quanto_keeps_bytes_by_row(name: str) -> None:
    fmt, weight = get_format(name), matrix(5, 70)
    stored = quanto(encode(weight, fmt))
    assert torch.equal(stored["weight._data"].float() * stored["weight._scale"].float(), fake_quantize(weight, fmt))
    assert stored_bits(stored) == quanto_size_bits(fmt, (5, 70)) == 5 * (70 * 8 + 16) + 32


def test_quanto_chooses_its_groups() -> None:
    sizes = {inputs: quanto_group_size(inputs) for inputs in (64, 128, 256, 576, 320, 160, 129)}
    assert sizes == {64: None, 128: None, 256: 128, 576: 96, 320: 64, 160: 32, 129: None}


@pytest.mark.parametrize(
    ("name", "columns", "reason"),
    [
        ("INT4_G64", 256, "256 inputs in groups of 128, not as INT4_G64"),
        ("INT4_G32", 576, "576 inputs in groups of 96"),
        ("INT4_G128", 128, "128 inputs in whole rows"),
        ("INT4_G128_ASYM", 256, "not INT4_G128_ASYM"),
        ("INT3_G128", 256, "not INT3_G128"),
        ("NVFP4", 256, "not NVFP4"),
    ],
)
def test_what_quanto_cannot_store_is_refused_with_the_reason(name: str, columns: int, reason: str) -> None:
    fmt = get_format(name)
    assert reason in str(quanto_refusal(fmt, (4, columns)))
    with pytest.raises(UnsupportedShapeError, match=reason):
        quanto_size_bits(fmt, (4, columns))
    with pytest.raises(UnsupportedShapeError, match=reason):
        quanto(encode(matrix(4, columns), fmt))


@pytest.mark.parametrize("fmt", HQQ, ids=lambda fmt: fmt.name)
def test_hqq_decodes_our_weights(fmt: CandidateFormat) -> None:
    weight = matrix(12, 256)
    stored = hqq(encode(weight, fmt))
    scale, zero = stored["scale"].float(), stored["zero"].float()
    parts = {2: 4, 3: 10, 4: 2}.get(fmt.num_bits, 1)
    codes = unpacked(stored["W_q"], fmt.num_bits, parts, len(scale), highest_first=True)
    assert torch.equal(((codes - zero) * scale).reshape(weight.shape), fake_quantize(weight, fmt))
    assert stored_bits(stored) == hqq_size_bits(fmt, (12, 256))


def test_five_and_six_bits_of_hqq_are_bytes() -> None:
    sizes = {bits: hqq_size_bits(get_format(f"INT{bits}_G64_ASYM"), (40, 256)) / (40 * 256) for bits in HQQ_BITS}
    assert sizes == {2: 2.5, 3: 3.7, 4: 4.5, 5: 8.5, 6: 8.5, 8: 8.5}


@pytest.mark.parametrize(
    ("name", "shape", "reason"),
    [
        ("INT7_G64_ASYM", (4, 64), "not INT7_G64_ASYM"),
        ("INT4_G64", (4, 64), "with zero points, not INT4_G64"),
        ("FP8", (4, 64), "not FP8"),
        ("INT4_G64_ASYM", (4, 96), "divisible by 64"),
        ("INT4_G64_ASYM", (3, 64), "3 groups cannot be divided"),
        ("INT2_G64_ASYM", (3, 128), "6 groups cannot be divided"),
    ],
)
def test_what_hqq_cannot_store_is_refused_with_the_reason(name: str, shape: tuple[int, int], reason: str) -> None:
    fmt = get_format(name)
    assert reason in str(hqq_refusal(fmt, shape))
    with pytest.raises(UnsupportedShapeError, match=reason):
        hqq_size_bits(fmt, shape)
    with pytest.raises(UnsupportedShapeError, match=reason):
        hqq(encode(matrix(*shape), fmt))


def test_every_other_format_is_refused() -> None:
    shape = (40, 512)
    assert {fmt.name for fmt in all_formats() if hqq_refusal(fmt, shape) is None} == {fmt.name for fmt in HQQ} | {"BF16", "FP16"}
    found = {fmt.name for fmt in all_formats() if quanto_refusal(fmt, shape) is None}
    assert found == {"INT2_G128", "INT4_G128", "INT8_CHANNEL", "FP8", "BF16", "FP16"}


def test_unquantized_layers_are_one_tensor() -> None:
    for pack in (quanto, hqq):
        assert list(pack(encode(matrix(2, 3), get_format("BF16")))) == ["weight"]
