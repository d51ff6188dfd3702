"""Block formats of GGUF: what is measured is what the library's decoder reads from our bytes, and how good these are."""

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from gguf.quants import dequantize, quantize
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from sensitivity.errors import CorruptCheckpointError, UnsupportedShapeError
from sensitivity.formats.gguf import FORMATS, BlockFormat
from sensitivity.formats.registry import get_format
from sensitivity.rounding import decode, encode, fake_quantize, fake_quantize_many, get_rounding
from sensitivity.rounding.gguf import LIBRARY_ENCODERS, block_scales, encode_levels
from sensitivity.rounding.gguf_encoders import ENCODERS
from tests.sensitivity.rounding.matrices import nasty_matrices
from tests.sensitivity.rounding.second_moments import correlated_inputs, moments_of, output_error

RTN, CLIP, DIAGONAL, GPTQ = map(get_rounding, ("rtn", "rtn_clip", "rtn_diagonal", "gptq"))
MATRICES = nasty_matrices()
TALL = torch.cat([matrix.float() for matrix in MATRICES.values()])
by_format = pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)


def block_format(name: str) -> BlockFormat:
    fmt = get_format(name)
    assert isinstance(fmt, BlockFormat)
    return fmt


def gaussian(rows: int, columns: int = 512, *, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * 0.02


def read_by_the_library(codes: Tensor, fmt: BlockFormat) -> Tensor:
    return torch.from_numpy(dequantize(codes.numpy(), GGMLQuantizationType[fmt.name]))


def relative_error(weight: Tensor, rounded: Tensor) -> float:
    return float((rounded - weight).double().square().sum() / weight.double().square().sum())


@by_format
@pytest.mark.parametrize("method", [RTN, CLIP], ids=lambda method: method.name)
def test_the_librarys_decoder_reads_what_was_measured(fmt: BlockFormat, method: object) -> None:
    assert method in (RTN, CLIP)
    rounding = RTN if method is RTN else CLIP
    encoded = rounding.encode(TALL, fmt)
    assert encoded.codes.dtype == torch.uint8
    assert encoded.codes.numel() * 8 == fmt.size_bits((len(TALL), 256))
    found = read_by_the_library(encoded.codes, fmt)
    assert torch.equal(found, rounding.fake_quantize(TALL, fmt))
    assert torch.equal(found, decode(encoded))
    assert bool(found.isfinite().all())


@by_format
def test_encoding_what_was_decoded_changes_little(fmt: BlockFormat) -> None:
    """Weights on the grid are found again, whatever their scales."""
    once = fake_quantize(gaussian(24), fmt)
    assert relative_error(once, fake_quantize(once, fmt)) < {1: 1e-6, 2: 2e-2, 3: 4e-3}.get(fmt.num_bits, 1e-3)


@pytest.mark.parametrize(
    ("name", "greatest"),
    [
        ("Q8_0", 2.9e-5),
        ("Q6_K", 3.2e-4),
        ("Q5_K", 1.4e-3),
        ("Q4_K", 5.1e-3),
        ("IQ4_NL", 5.7e-3),
        ("IQ4_XS", 5.9e-3),
        ("Q4_0", 7.4e-3),
        ("Q3_K", 2.4e-2),
        ("Q2_K", 8.8e-2),
    ],
)
def test_the_error_on_gaussian_weights_is_not_more_than_llama_cpps(name: str, greatest: float) -> None:
    """Q8_0, Q6_K, Q4_K, IQ4_XS, Q4_0, Q2_K: as llama-quantize wrote a random model (exports.md §4); the others in between."""
    weight = gaussian(512)
    assert relative_error(weight, fake_quantize(weight, get_format(name))) < 1.005 * greatest


@pytest.mark.parametrize("name", sorted(LIBRARY_ENCODERS))
def test_round_to_nearest_is_the_librarys_where_it_encodes(name: str) -> None:
    weight = gaussian(16)
    assert np.array_equal(encode(weight, get_format(name)).codes.numpy(), quantize(weight.numpy(), GGMLQuantizationType[name]))


@by_format
def test_a_search_is_never_worse_than_round_to_nearest(fmt: BlockFormat) -> None:
    for case, weight in MATRICES.items():
        exact = weight.double().clamp(-65504, 65504)
        plain, found = (exact - method.fake_quantize(weight, fmt).double() for method in (RTN, CLIP))
        assert float(found.square().sum()) <= float(plain.square().sum()) * (1 + 1e-12), case


@by_format
def test_an_importance_of_columns_is_used(fmt: BlockFormat) -> None:
    weight, moments = gaussian(40, 256), moments_of(correlated_inputs(600, 256))
    plain = output_error(weight, CLIP.fake_quantize(weight, fmt), moments)
    assert output_error(weight, DIAGONAL.fake_quantize(weight, fmt, moments), moments) < plain


@by_format
def test_gptq_leaves_less_output_error_and_its_bytes_decode(fmt: BlockFormat) -> None:
    weight, moments = gaussian(32, 256), moments_of(correlated_inputs(600, 256))
    encoded = GPTQ.encode(weight, fmt, moments)
    found = output_error(weight, read_by_the_library(encoded.codes, fmt), moments)
    assert found < 0.8 * output_error(weight, CLIP.fake_quantize(weight, fmt), moments)


@pytest.mark.parametrize("name", ["Q4_1", "Q5_1"])
def test_a_range_of_negative_weights_alone_uses_all_codes(name: str) -> None:
    fmt, weight = get_format(name), gaussian(8)
    away = 0.1 * weight - 0.3
    assert relative_error(weight, (CLIP.fake_quantize(away, fmt) + 0.3) * 10) < 0.01


def test_gptq_of_groups_without_a_scale_keeps_their_minimum() -> None:
    weight = torch.full((4, 256), -0.25)
    weight[1:] = 0.0
    moments = moments_of(correlated_inputs(600, 256))
    for fmt in FORMATS:
        found = GPTQ.fake_quantize(weight, fmt, moments)
        assert not found[1:].any(), fmt.name
        assert torch.allclose(found[:1], weight[:1], rtol=0.05), fmt.name


@by_format
def test_levels_written_with_their_scales_are_the_nearest_ones(fmt: BlockFormat) -> None:
    """Rounding a matrix by hand with the searched scales gives the bytes of the encoder."""
    weight, encoder = gaussian(6), ENCODERS[fmt.name]
    scales = block_scales(weight, fmt)
    levels = scales.levels(encoder.groups(weight.view(-1, fmt.block_elements)), encoder.elements)
    encoded = encode_levels(levels.view(weight.shape), fmt, scales)
    assert torch.equal(encoded.codes.view(-1, fmt.block_bytes), encoder.encode(weight.view(-1, fmt.block_elements)))
    decoded = levels * scales.scale[..., None] - (0 if scales.minimum is None else scales.minimum[..., None])
    assert torch.equal(decoded.view(weight.shape), decode(encoded))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(FORMATS),
    hnp.arrays(np.float32, st.tuples(st.integers(1, 3), st.just(256)), elements=st.floats(-4, 4, width=32)),
)
def test_no_element_is_farther_than_its_group_is_wide(fmt: BlockFormat, array: np.ndarray) -> None:
    weight = torch.from_numpy(array)
    found = fake_quantize(weight, fmt)
    assert bool(found.isfinite().all())
    reach = weight.abs().view(len(weight), -1, ENCODERS[fmt.name].width).amax(-1, keepdim=True)
    wide = weight.abs().view(len(weight), -1, fmt.block_elements).amax(-1, keepdim=True)  # shared scales are rounded
    off = (found - weight).abs()
    assert bool(
        (off.view(*reach.shape[:2], -1) <= reach + 0.1 * wide.repeat_interleave(reach.shape[1] // wide.shape[1], 1)).all()
    )


@by_format
def test_strips_of_rows_change_nothing(fmt: BlockFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = gaussian(9)
    whole = CLIP.encode(weight, fmt).codes
    monkeypatch.setattr("sensitivity.rounding.gguf.STRIP_ELEMENTS", 2 * 512)
    assert torch.equal(CLIP.encode(weight, fmt).codes, whole)
    assert torch.equal(torch.cat([CLIP.encode(row, fmt).codes for row in weight[:, None]]), whole)


def test_many_formats_in_one_go_equal_one_by_one() -> None:
    formats = [*FORMATS, get_format("INT4_G64"), get_format("BF16")]
    weight = gaussian(4).bfloat16()
    for fmt, found in zip(formats, fake_quantize_many(weight, formats), strict=True):
        assert torch.equal(found, fake_quantize(weight, fmt)), fmt.name


@by_format
def test_zeros_stay_zero_and_weights_stay_as_they_were(fmt: BlockFormat) -> None:
    weight = gaussian(5)
    weight[1] = 0.0
    before = weight.clone()
    assert not CLIP.fake_quantize(weight, fmt)[1].any()
    assert not fake_quantize(weight, fmt)[1].any()
    assert torch.equal(weight, before)


@by_format
def test_weights_beyond_float16_are_saturated(fmt: BlockFormat) -> None:
    weight = torch.zeros(1, 256)
    weight[0, 0] = 1e30
    found = fake_quantize(weight, fmt)
    assert 0.8 * 65504 < float(found[0, 0]) < 1.2 * 65504
    assert not found[0, 1:].any() or fmt.name in ("IQ4_NL", "IQ4_XS")  # whose nearest level to zero is 1


def test_what_cannot_be_stored_is_refused() -> None:
    with pytest.raises(UnsupportedShapeError, match="blocks of 256 inputs, which do not divide 576"):
        fake_quantize(torch.zeros(2, 576), get_format("Q4_K"))
    weight = torch.ones(4, 256)
    weight[2, 129] = float("nan")
    for method in (RTN, CLIP):
        with pytest.raises(CorruptCheckpointError, match="row 2, column 129"):
            method.encode(weight, get_format("Q6_K"))


def test_mxfp4_has_the_elements_and_scales_that_ggml_reads() -> None:
    """The same numbers under the same powers of two, whoever chose them: one format for both containers."""
    encoded = encode(gaussian(8), get_format("MXFP4"))
    assert encoded.scaling is not None
    pairs = encoded.codes.view(-1, 2, 16)
    packed = torch.cat([encoded.scaling.stored.view(-1, 1), pairs[:, 0] | pairs[:, 1] << 4], dim=1)
    found = dequantize(packed.numpy(), GGMLQuantizationType.MXFP4)
    assert torch.equal(torch.from_numpy(found).view(8, 512), decode(encoded))
