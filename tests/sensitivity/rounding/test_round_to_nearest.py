"""What holds for every format, beside equality with compressed-tensors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sensitivity.errors import CorruptCheckpointError, FormatError, UnsupportedShapeError
from sensitivity.formats.candidate import CandidateFormat, ElementType, Strategy
from sensitivity.formats.registry import get_format
from sensitivity.rounding import codec_for, decode, encode, fake_quantize, fake_quantize_many, get_rounding
from sensitivity.rounding_facts import all_rounding_facts, get_rounding_facts
from tests.sensitivity.rounding.matrices import matrices_for, nasty_matrices
from tests.sensitivity.rounding.scaled_formats import QUANTIZED, SCALED

MATRICES = nasty_matrices()
by_name = pytest.mark.parametrize("fmt", SCALED, ids=lambda fmt: fmt.name)


@by_name
def test_decoding_the_codes_gives_the_fake_quantized_weights(fmt: CandidateFormat) -> None:
    for case, weight in matrices_for(fmt).items():
        for matrix in (weight, weight[:, :77], weight[:, :1]):  # ragged last group, single column
            assert torch.equal(decode(encode(matrix, fmt)), fake_quantize(matrix, fmt)), case


@by_name
def test_rounding_again_with_the_same_scales_changes_nothing(fmt: CandidateFormat) -> None:
    encoded = encode(MATRICES["random"], fmt)
    if encoded.scaling is None:
        return
    codec = codec_for(fmt)
    levels = codec.levels(encoded.codes, fmt)
    assert torch.equal(codec.round_(levels.clone(), fmt), levels)


@pytest.mark.parametrize("fmt", QUANTIZED, ids=lambda fmt: fmt.name)
def test_padding_of_a_ragged_group_changes_nothing_else(fmt: CandidateFormat) -> None:
    weight = MATRICES["one outlier"][:, :200]
    width = fmt.group_size or 200
    padded = torch.nn.functional.pad(weight, (0, -200 % width))
    assert torch.equal(fake_quantize(weight, fmt), fake_quantize(padded, fmt)[:, :200])


@by_name
def test_zeros_decode_to_zero(fmt: CandidateFormat) -> None:
    assert not fake_quantize(torch.zeros(3, 128), fmt).any()
    some = MATRICES["zero rows"]
    assert not fake_quantize(some, fmt)[::3].any()


@by_name
def test_weights_that_are_not_finite_are_refused_and_located(fmt: CandidateFormat) -> None:
    for bad in (float("nan"), float("inf"), float("-inf")):
        weight = torch.ones(4, 130)
        weight[2, 129] = bad
        with pytest.raises(CorruptCheckpointError, match="row 2, column 129"):
            fake_quantize(weight, fmt)
        with pytest.raises(CorruptCheckpointError, match="not finite"):
            encode(weight, fmt)


def test_only_matrices_are_rounded() -> None:
    fmt = get_format("INT4_G64")
    with pytest.raises(UnsupportedShapeError, match="matrices of shape"):
        fake_quantize(torch.ones(4), fmt)
    with pytest.raises(UnsupportedShapeError, match="empty"):
        fake_quantize(torch.ones(0, 64), fmt)


def test_many_formats_at_once_equal_one_by_one_and_fill_the_given_tensor() -> None:
    for matrix in (MATRICES["random"], MATRICES["bfloat16"][:, :100]):
        out = torch.full((len(SCALED), *matrix.shape), 99.0)
        found = fake_quantize_many(matrix, SCALED, out=out)
        assert found is out
        for fmt, one in zip(SCALED, out, strict=True):
            assert torch.equal(one, fake_quantize(matrix, fmt)), fmt.name


def test_each_format_in_turn_is_as_alone_whatever_is_done_to_the_one_before() -> None:
    weight = MATRICES["random"]
    formats = [fmt for fmt in SCALED if fmt.refusal((weight.shape[0], weight.shape[1])) is None]
    for fmt, found in zip(formats, get_rounding("rtn").fake_quantize_each(weight, formats), strict=True):
        assert torch.equal(found, fake_quantize(weight, fmt)), fmt.name
        found.sub_(weight)
    assert torch.equal(weight, nasty_matrices()["random"])


def test_the_weights_themselves_are_never_written() -> None:
    weight = MATRICES["random"].clone()
    fake_quantize_many(weight, SCALED)
    for fmt in SCALED:
        encode(weight, fmt)
    assert torch.equal(weight, MATRICES["random"])


def test_unquantized_formats_cast() -> None:
    weight = MATRICES["random"]
    assert torch.equal(fake_quantize(weight, get_format("BF16")), weight.bfloat16().float())
    assert torch.equal(fake_quantize(weight, get_format("FP16")), weight.half().float())
    assert fake_quantize(torch.full((1, 1), 1e6), get_format("FP16")).isinf().all()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([fmt for fmt in QUANTIZED if fmt.type is ElementType.INT]),
    hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 150)), elements=st.floats(-4, 4, width=32)),
)
def test_an_integer_error_is_at_most_half_a_step_and_a_little(fmt: CandidateFormat, array: np.ndarray) -> None:
    weight = torch.from_numpy(np.where(np.abs(array) < 1e-30, np.float32(0), array))  # a subnormal scale has fewer digits
    scaling = encode(weight, fmt).scaling
    assert scaling is not None
    width = fmt.group_size or weight.shape[1]
    step = scaling.effective.repeat_interleave(width, dim=1)[:, : weight.shape[1]]
    # Clipping at the positive end and a scale rounded down by at most 2^-8 cost at most half a step and levels/256 more.
    allowed = step * (0.5 + 2**fmt.num_bits / 256 + 0.5 * (not fmt.symmetric) + 1e-3)
    assert bool(((fake_quantize(weight, fmt) - weight).abs() <= allowed).all())


def test_codes_fit_their_bits() -> None:
    for fmt in QUANTIZED:
        codes = encode(MATRICES["wide range"], fmt).codes
        if fmt.type is ElementType.INT:
            half = 2 ** (fmt.num_bits - 1)
            assert -half <= int(codes.min()) <= int(codes.max()) <= half - 1
        elif fmt.num_bits == 4:
            assert int(codes.max()) <= 15


def test_every_quantized_format_has_one_codec_and_an_unknown_one_is_named() -> None:
    for fmt in QUANTIZED:
        assert codec_for(fmt).handles(fmt)
    with pytest.raises(FormatError, match="FP6"):
        codec_for(CandidateFormat("FP6", 6, ElementType.FLOAT, Strategy.CHANNEL))


def test_rounding_methods_are_found_by_name() -> None:
    method = get_rounding("RTN")
    fmt = get_format("INT4_G64")
    assert (method.name, method.version) == ("rtn", 1)
    assert torch.equal(method.fake_quantize(MATRICES["random"], fmt), fake_quantize(MATRICES["random"], fmt))
    with pytest.raises(FormatError, match="rtn"):
        get_rounding("gptq?")


def test_what_planning_knows_of_the_methods_is_true() -> None:
    known = all_rounding_facts()
    assert {facts.name: facts for facts in known} == {facts.name: get_rounding(facts.name).facts for facts in known}
    with pytest.raises(FormatError, match=", ".join(facts.name for facts in known)):
        get_rounding_facts("gptq?")
