"""MLX's packing against a decoder in plain numpy: unsigned codes, a scale and a bias for each group.

MLX itself reads these tensors in tests/exports.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.packing_mlx import MLX_BITS, MLX_GROUP_SIZES, mlx_refusal, mlx_size_bits
from sensitivity.formats.registry import all_formats, get_format, resolve_format
from sensitivity.rounding import encode, fake_quantize, get_rounding
from sensitivity.rounding.packing_mlx import mlx

AFFINE = [get_format(f"INT{bits}_G{group}") for bits in MLX_BITS for group in MLX_GROUP_SIZES]
STORABLE = [*AFFINE, get_format("MXFP4")]
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)


def matrix(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * 0.05


def unsigned(words: Tensor, bits: int, columns: int) -> np.ndarray:
    """Codes of each row: the words of a row are one long number, read from its lowest bit on."""
    rows = words.view(torch.int32).numpy().view("<u4")
    numbers = [sum(int(word) << (32 * place) for place, word in enumerate(row)) for row in rows]
    return np.array([[number >> (column * bits) & ((1 << bits) - 1) for column in range(columns)] for number in numbers])


def decoded(stored: dict[str, Tensor], fmt: CandidateFormat, columns: int) -> np.ndarray:
    assert fmt.group_size is not None
    codes = unsigned(stored["weight"], fmt.num_bits, columns)
    if fmt.name == "MXFP4":
        scales = np.exp2(stored["scales"].numpy().astype(np.float32) - 127)
        return np.asarray(E2M1[codes] * scales.repeat(32, axis=1), np.float32)
    scales, biases = (stored[name].float().numpy().repeat(fmt.group_size, axis=1) for name in ("scales", "biases"))
    return np.asarray(codes.astype(np.float32) * scales + biases, np.float32)


@pytest.mark.parametrize("fmt", STORABLE, ids=lambda fmt: fmt.name)
def test_codes_scales_and_biases_give_back_our_weights_exactly(fmt: CandidateFormat) -> None:
    weight = matrix(5, 256)
    stored = mlx(encode(weight, fmt))
    assert stored["weight"].dtype == torch.uint32
    assert np.array_equal(decoded(stored, fmt, 256), fake_quantize(weight, fmt).numpy())
    bits = sum(tensor.numel() * tensor.element_size() * 8 for tensor in stored.values())
    assert bits == mlx_size_bits(fmt, (5, 256))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(AFFINE), st.integers(0, 1000), st.integers(-60, 60), st.integers(1, 3))
def test_the_bias_is_exact_at_every_magnitude(fmt: CandidateFormat, seed: int, exponent: int, groups: int) -> None:
    weight = matrix(2, 128 * groups, seed) * 2.0**exponent
    stored = mlx(encode(weight, fmt))
    assert torch.equal(stored["biases"].double(), stored["scales"].double() * -(2.0 ** (fmt.num_bits - 1)))
    assert np.array_equal(decoded(stored, fmt, weight.shape[1]), fake_quantize(weight, fmt).numpy())


def test_negative_scales_of_a_search_are_stored_as_they_are() -> None:
    fmt = get_format("INT3_G64")
    encoded = get_rounding("rtn_clip").encode(matrix(16, 128), fmt)
    stored = mlx(encoded)
    assert bool((stored["scales"] < 0).any())
    assert np.array_equal(decoded(stored, fmt, 128), get_rounding("rtn_clip").fake_quantize(matrix(16, 128), fmt).numpy())


def test_stored_bits_are_the_nominal_ones_and_32_a_group() -> None:
    for fmt in AFFINE:
        assert fmt.group_size is not None
        assert mlx_size_bits(fmt, (6, 256)) == 6 * 256 * fmt.num_bits + 6 * 256 // fmt.group_size * 32
    assert mlx_size_bits(get_format("MXFP4"), (6, 256)) == int(6 * 256 * 4.25)
    assert mlx_size_bits(get_format("BF16"), (6, 77)) == 6 * 77 * 16


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("INT7_G64", "2, 3, 4, 5, 6, 8 bits, not 7"),
        ("INT4_CHANNEL", "no whole rows"),
        ("INT4_G64_ASYM", "no bfloat16 number"),
        ("NVFP4", "MLX has no NVFP4"),
        ("FP8", "MLX has no FP8"),
        ("NF4_G64", "MLX has no NF4_G64"),
        ("INT4_G128", "divisible by 128"),
        ("MXFP4", "divisible by 32"),
    ],
)
def test_what_mlx_cannot_store_is_refused_with_the_reason(name: str, reason: str) -> None:
    columns = {"INT4_G128": 192, "MXFP4": 48}.get(name, 256)
    fmt = get_format(name)
    found = mlx_refusal(fmt, (4, columns))
    assert found is not None
    assert reason in found
    with pytest.raises(UnsupportedShapeError, match=reason):
        mlx_size_bits(fmt, (4, columns))
    with pytest.raises(UnsupportedShapeError, match=reason):
        mlx(encode(matrix(4, columns), fmt))


def test_mlxs_own_rounding_can_be_planned_with_but_not_packed() -> None:
    assert "nothing here packs" in str(mlx_refusal(resolve_format("MLX_AFFINE4_G64"), (4, 256)))


def test_every_other_format_is_refused() -> None:
    storable = {fmt.name for fmt in all_formats() if mlx_refusal(fmt, (4, 512)) is None}
    assert storable == {fmt.name for fmt in STORABLE} | {"BF16", "FP16"}


def test_an_unquantized_layer_is_one_tensor() -> None:
    assert list(mlx(encode(matrix(2, 3), get_format("BF16")))) == ["weight"]
