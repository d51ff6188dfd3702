"""GPTQ tensors decoded bit by bit, as the formats are described, give back our weights. The engines themselves: tests/exports."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.candidate import CandidateFormat, ElementType
from sensitivity.formats.packing_gptq import autoround_size_bits, gptqmodel_size_bits
from sensitivity.formats.registry import all_formats, get_format
from sensitivity.rounding import encode, fake_quantize, get_rounding
from sensitivity.rounding.packing_gptq import autoround, gptqmodel, gptqmodel_planar, pack_planes

STORABLE = [fmt for fmt in all_formats() if fmt.type is ElementType.INT and fmt.symmetric]
by_format = pytest.mark.parametrize("fmt", STORABLE, ids=lambda fmt: fmt.name)
Place = Callable[[int, int, int], int]
"""(index of a code among 32, bit of the code, bits of a code) -> bit of the block of words."""

PLANES = {2: [2], 3: [2, 1], 4: [4], 5: [4, 1], 6: [4, 2], 7: [4, 2, 1], 8: [8]}


def dense(index: int, bit: int, num_bits: int) -> int:
    return index * num_bits + bit


def planar(index: int, bit: int, num_bits: int) -> int:
    first = 0
    for width in PLANES[num_bits]:
        if bit < first + width:
            return 32 * first + index * width + bit - first
        first += width
    raise AssertionError(bit)


def codes_of(words: NDArray[np.int32], num_bits: int, place: Place) -> NDArray[np.int64]:
    """Codes (rows, columns) of words (rows, columns·b/32)."""
    blocks = words.view(np.uint32).astype(np.int64).reshape(len(words), -1, num_bits)
    found = np.zeros((*blocks.shape[:2], 32), np.int64)
    for index in range(32):
        for bit in range(num_bits):
            word, shift = divmod(place(index, bit, num_bits), 32)
            found[..., index] |= ((blocks[..., word] >> shift) & 1) << bit
    return found.reshape(len(words), -1)


def decoded(tensors: dict[str, Tensor], fmt: CandidateFormat, place: Place, *, stored_less: int) -> Tensor:
    """weight = scale·(code − zero point), (out, in), in float64."""
    codes = codes_of(np.ascontiguousarray(tensors["qweight"].numpy().T), fmt.num_bits, place)
    zeros = codes_of(tensors["qzeros"].numpy(), fmt.num_bits, place).T + stored_less
    width = fmt.group_size or codes.shape[1]
    scales = tensors["scales"].double().numpy().T
    return torch.from_numpy(np.repeat(scales, width, axis=1) * (codes - np.repeat(zeros, width, axis=1)))


def matrix(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows)) * 0.05


@by_format
def test_every_layout_decodes_to_our_weights(fmt: CandidateFormat) -> None:
    weight = matrix(64, 128)
    encoded, expected = encode(weight, fmt), fake_quantize(weight, fmt).double()
    assert torch.equal(decoded(autoround(encoded), fmt, dense, stored_less=1), expected)
    assert torch.equal(decoded(gptqmodel(encoded), fmt, dense, stored_less=1), expected)
    assert torch.equal(decoded(gptqmodel_planar(encoded), fmt, planar, stored_less=0), expected)


@by_format
def test_stored_bits_are_the_predicted_ones(fmt: CandidateFormat) -> None:
    for shape in ((32, 128), (96, 256)):
        encoded = encode(matrix(*shape), fmt)
        for pack, size_bits in (
            (autoround, autoround_size_bits),
            (gptqmodel, gptqmodel_size_bits),
            (gptqmodel_planar, gptqmodel_size_bits),
        ):
            assert sum(tensor.numel() * tensor.element_size() * 8 for tensor in pack(encoded).values()) == size_bits(fmt, shape)


def test_shapes_and_dtypes_are_those_that_the_engines_allocate() -> None:
    found = gptqmodel(encode(matrix(64, 128), get_format("INT3_G32")))
    assert {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in found.items()} == {
        "qweight": ((12, 64), torch.int32),
        "qzeros": ((4, 6), torch.int32),
        "scales": ((4, 64), torch.bfloat16),
        "g_idx": ((128,), torch.int32),
    }
    assert found["g_idx"].tolist() == [column // 32 for column in range(128)]
    assert gptqmodel(encode(matrix(64, 128), get_format("INT3_CHANNEL")))["g_idx"].tolist() == [0] * 128


def test_version_1_stores_zero_points_less_one_and_the_planar_layout_does_not() -> None:
    encoded = encode(matrix(32, 64), get_format("INT4_G64"))
    assert set(gptqmodel(encoded)["qzeros"].flatten().tolist()) == {0x77777777}
    assert set(autoround(encoded)["qzeros"].flatten().tolist()) == {0x77777777}
    assert set(gptqmodel_planar(encoded)["qzeros"].flatten().tolist()) == {-0x77777778}


@pytest.mark.parametrize("num_bits", [2, 4, 8])
def test_codes_of_2_4_and_8_bits_are_one_plane_so_their_layouts_are_one(num_bits: int) -> None:
    encoded = encode(matrix(32, 64), get_format(f"INT{num_bits}_G64"))
    assert torch.equal(gptqmodel(encoded)["qweight"], gptqmodel_planar(encoded)["qweight"])


@pytest.mark.parametrize("num_bits", [3, 5, 6, 7])
def test_the_layouts_of_the_others_are_not_interchangeable(num_bits: int) -> None:
    encoded = encode(matrix(32, 64), get_format(f"INT{num_bits}_G64"))
    assert not torch.equal(gptqmodel(encoded)["qweight"], gptqmodel_planar(encoded)["qweight"])


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(2, 8), st.integers(1, 3), st.integers(1, 3))
def test_planes_hold_any_codes(data: st.DataObject, num_bits: int, rows: int, blocks: int) -> None:
    half = 1 << (num_bits - 1)
    flat = data.draw(st.lists(st.integers(-half, half - 1), min_size=rows * blocks * 32, max_size=rows * blocks * 32))
    codes = torch.tensor(flat, dtype=torch.int8).reshape(rows, blocks * 32)
    assert np.array_equal(codes_of(pack_planes(codes, num_bits).numpy(), num_bits, planar), codes.numpy().astype(np.int64) + half)


def test_negative_scales_of_clipped_groups_stay() -> None:
    fmt = get_format("INT3_G32")
    weight = matrix(64, 128)
    encoded = get_rounding("rtn_clip").encode(weight, fmt)
    found = gptqmodel(encoded)
    assert bool((found["scales"] < 0).any())
    expected = get_rounding("rtn_clip").fake_quantize(weight, fmt).double()
    assert torch.equal(decoded(found, fmt, dense, stored_less=1), expected)


def test_zeros_decode_to_zeros() -> None:
    for fmt in (get_format("INT2_G32"), get_format("INT5_CHANNEL")):
        found = decoded(autoround(encode(torch.zeros(32, 64), fmt)), fmt, dense, stored_less=1)
        assert torch.equal(found, torch.zeros(32, 64, dtype=torch.float64))


@pytest.mark.parametrize("pack", [autoround, gptqmodel, gptqmodel_planar])
def test_unquantized_layers_are_one_tensor_and_others_are_refused(pack: Callable[..., dict[str, Tensor]]) -> None:
    found = pack(encode(matrix(3, 5), get_format("BF16")))
    assert list(found) == ["weight"]
    assert found["weight"].dtype == torch.bfloat16
    with pytest.raises(UnsupportedShapeError, match="asymmetric"):
        pack(encode(matrix(32, 64), get_format("INT4_G64_ASYM")))
