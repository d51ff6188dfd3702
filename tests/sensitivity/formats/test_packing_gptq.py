"""Sizes of GPTQ files against their formula, and what they cannot hold. ``rounding/test_packing_gptq`` compares with tensors."""

from fractions import Fraction

import pytest

from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.candidate import CandidateFormat, ElementType
from sensitivity.formats.packing_gptq import autoround_size_bits, gptq_refusal, gptqmodel_size_bits
from sensitivity.formats.registry import all_formats, get_format

STORABLE = [fmt for fmt in all_formats() if fmt.type is ElementType.INT and fmt.symmetric]
SHAPE = (256, 512)


@pytest.mark.parametrize("fmt", STORABLE, ids=lambda fmt: fmt.name)
def test_bits_of_a_weight_are_codes_scales_zero_points_and_indices(fmt: CandidateFormat) -> None:
    out_features, in_features = SHAPE
    group = fmt.group_size or in_features
    expected = fmt.num_bits + Fraction(16, group) + Fraction(fmt.num_bits, group)
    weights = out_features * in_features
    assert Fraction(autoround_size_bits(fmt, SHAPE), weights) == expected
    assert Fraction(gptqmodel_size_bits(fmt, SHAPE), weights) == expected + Fraction(32, out_features)


@pytest.mark.parametrize(
    ("name", "shape", "with_indices", "without"),
    [
        ("INT4_G128", (256, 512), 4.2812, 4.1562),
        ("INT3_G64", (512, 256), 3.3594, 3.2969),
        ("INT8_G64", (256, 256), 8.5, 8.375),
    ],
)
def test_figures_that_were_measured_from_files_of_the_engines(
    name: str, shape: tuple[int, int], with_indices: float, without: float
) -> None:
    weights = shape[0] * shape[1]
    assert gptqmodel_size_bits(get_format(name), shape) / weights == pytest.approx(with_indices, abs=1e-4)
    assert autoround_size_bits(get_format(name), shape) / weights == pytest.approx(without, abs=1e-4)


@pytest.mark.parametrize("name", ["BF16", "FP16"])
def test_unquantized_layers_take_16_bits_and_may_have_any_shape(name: str) -> None:
    for size_bits in (gptqmodel_size_bits, autoround_size_bits):
        assert size_bits(get_format(name), (7, 77)) == 7 * 77 * 16


@pytest.mark.parametrize(
    ("name", "shape", "reason"),
    [
        ("INT4_G64_ASYM", SHAPE, "use INT4_G64$"),
        ("INT4_CHANNEL_ASYM", SHAPE, "use INT4_CHANNEL$"),
        ("NVFP4", SHAPE, "hold integers"),
        ("FP8", SHAPE, "hold integers"),
        ("NF4_G64", SHAPE, "hold integers"),
        ("INT4_G64", (256, 96), "divisible by 64, not 96"),
        ("INT4_CHANNEL", (256, 80), r"divisible by 32, not \(256, 80\)"),
        ("INT4_G32", (48, 64), r"divisible by 32, not \(48, 64\)"),
        ("INT4_G32", (0, 64), "empty"),
    ],
)
def test_what_a_gptq_file_cannot_hold(name: str, shape: tuple[int, int], reason: str) -> None:
    for size_bits in (gptqmodel_size_bits, autoround_size_bits):
        with pytest.raises(UnsupportedShapeError, match=reason):
            size_bits(get_format(name), shape)


def test_every_symmetric_integer_is_stored_and_nothing_else() -> None:
    stored = {fmt.name for fmt in all_formats() if fmt.is_quantized and gptq_refusal(fmt, SHAPE) is None}
    assert stored == {fmt.name for fmt in STORABLE}
