"""Torchao's tensors against its rule, (element − zero point)·scale, in plain torch. torchao reads them in tests/exports."""

import pytest
import torch
from torch import Tensor

from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.candidate import CandidateFormat, ElementType
from sensitivity.formats.packing_torchao import FLOAT8, torchao_refusal, torchao_size_bits
from sensitivity.formats.registry import all_formats, get_format
from sensitivity.rounding import encode, fake_quantize
from sensitivity.rounding.packing_torchao import torchao

STORABLE = [fmt for fmt in all_formats() if fmt.type is ElementType.INT or fmt.name in FLOAT8]


def matrix(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows)) * 0.05


def decoded(stored: dict[str, Tensor]) -> Tensor:
    elements, scale = stored["_weight_qdata"].float(), stored["_weight_scale"].float()
    zero_point = stored.get("_weight_zero_point", torch.zeros_like(scale))
    rows, columns = elements.shape[0] // len(scale), elements.shape[1] // scale.shape[1]
    spread = (one.float().repeat_interleave(rows, 0).repeat_interleave(columns, 1) for one in (zero_point, scale))
    return (elements - next(spread)) * next(spread)


@pytest.mark.parametrize("fmt", STORABLE, ids=lambda fmt: fmt.name)
def test_elements_scales_and_zero_points_give_back_our_weights_exactly(fmt: CandidateFormat) -> None:
    weight = matrix(6, 256)
    stored = torchao(encode(weight, fmt))
    assert torch.equal(decoded(stored), fake_quantize(weight, fmt))
    bits = sum(tensor.numel() * tensor.element_size() * 8 for tensor in stored.values())
    assert bits == torchao_size_bits(fmt, (6, 256))


def test_low_bits_save_nothing() -> None:
    sizes = {name: torchao_size_bits(get_format(name), (64, 256)) for name in ("INT2_G64", "INT7_G64", "INT8_G64_ASYM")}
    assert set(sizes.values()) == {64 * 256 * 8 + 64 * 4 * 24}
    assert torchao_size_bits(get_format("INT8_G64"), (64, 256)) == 64 * 256 * 8 + 64 * 4 * 16
    assert torchao_size_bits(get_format("FP8"), (64, 256)) == 64 * 256 * 8 + 64 * 32
    assert torchao_size_bits(get_format("FP8_TENSOR"), (64, 256)) == 64 * 256 * 8 + 32
    assert torchao_size_bits(get_format("BF16"), (64, 77)) == 64 * 77 * 16


def test_elements_stay_within_the_range_of_their_type() -> None:
    """torchao keeps INT3 in bytes and takes for granted that they are within −4 … 3."""
    for fmt in STORABLE:
        if fmt.type is ElementType.INT:
            elements = torchao(encode(matrix(6, 256), fmt))["_weight_qdata"]
            assert -(2 ** (fmt.num_bits - 1)) <= int(elements.min()) <= int(elements.max()) < 2 ** (fmt.num_bits - 1)


@pytest.mark.parametrize(
    ("name", "columns", "reason"),
    [
        ("NVFP4", 256, "torchao stores NVFP4 on no device"),
        ("MXFP4", 256, "torchao stores MXFP4 on no device"),
        ("NF4_G64", 256, "torchao stores NF4_G64 on no device"),
        ("INT4_G64", 96, "divisible by 64"),
    ],
)
def test_what_torchao_cannot_store_is_refused_with_the_reason(name: str, columns: int, reason: str) -> None:
    fmt = get_format(name)
    assert reason in str(torchao_refusal(fmt, (4, columns)))
    with pytest.raises(UnsupportedShapeError, match=reason):
        torchao_size_bits(fmt, (4, columns))
    with pytest.raises(UnsupportedShapeError, match=reason):
        torchao(encode(matrix(4, columns), fmt))


def test_every_other_format_is_refused() -> None:
    storable = {fmt.name for fmt in all_formats() if torchao_refusal(fmt, (4, 512)) is None}
    assert storable == {fmt.name for fmt in STORABLE} | {"BF16", "FP16"}


def test_an_unquantized_layer_is_one_tensor() -> None:
    assert list(torchao(encode(matrix(2, 3), get_format("BF16")))) == ["weight"]
