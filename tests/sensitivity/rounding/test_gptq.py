"""GPTQ against its textbook form in float64, and what must hold whatever the Hessian."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from sensitivity.errors import CalibrationError, CorruptCheckpointError, UnsupportedShapeError
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import get_format
from sensitivity.inputs.moments import InputMoments, no_moments
from sensitivity.rounding import codec_for, decode, fake_quantize, get_rounding
from sensitivity.rounding.gptq import Gptq
from sensitivity.rounding.groups import group_width
from sensitivity.rounding.searched import scalings
from tests.sensitivity.rounding.scaled_formats import QUANTIZED, SCALED
from tests.sensitivity.rounding.second_moments import correlated_inputs, moments_of, output_error

GPTQ = get_rounding("gptq")
CLIP = get_rounding("rtn_clip")
NAMES = ("INT2_G32", "INT3_G64_ASYM", "INT4_CHANNEL", "INT8_G32", "NVFP4", "MXFP4", "NF4_G64", "FP8", "FP8_TENSOR")
SOME = [get_format(name) for name in NAMES]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def random_weight(out_features: int, in_features: int, *, seed: int = 0) -> Tensor:
    return torch.randn(out_features, in_features, generator=torch.Generator().manual_seed(seed)) * 0.05


def textbook(weight: Tensor, fmt: CandidateFormat, moments: InputMoments, damping: float = 0.01) -> Tensor:
    """Levels by Algorithm 1 of the paper with blocks of one column: float64, the inverse of H and its Cholesky factor."""
    (scaling,) = scalings(weight, (fmt,))
    assert scaling is not None
    columns, width, codec = weight.shape[1], group_width(fmt, weight.shape[1]), codec_for(fmt)
    diagonal = moments.hessian.diagonal()
    order = sorted(range(columns), key=lambda j: -float(diagonal[j]))
    damped = moments.hessian + damping * diagonal.mean() * torch.eye(columns, dtype=torch.float64)
    upper = torch.linalg.cholesky(torch.linalg.inv(damped[order][:, order]), upper=True)
    rest = weight.double()[:, order].clone()
    levels = torch.empty_like(weight)
    for i, j in enumerate(order):
        group = j // width
        scale = scaling.effective[:, group].double()
        offset = 0.0 if scaling.zero_point is None else scaling.zero_point[:, group].double()
        level = codec.round_((rest[:, i] / scale + offset).float(), fmt)
        levels[:, j] = level
        error = (rest[:, i] - (level.double() - offset) * scale) / upper[i, i]
        rest[:, i + 1 :] -= error[:, None] * upper[None, i, i + 1 :]
    return levels


@pytest.mark.parametrize("fmt", SOME, ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("columns", [64, 100])
def test_the_codes_are_those_of_the_textbook(fmt: CandidateFormat, columns: int) -> None:
    weight, moments = random_weight(24, columns), moments_of(correlated_inputs(300, columns))
    encoded = GPTQ.encode(weight, fmt, moments)
    assert torch.equal(codec_for(fmt).levels(encoded.codes, fmt), textbook(weight, fmt, moments))


@pytest.mark.parametrize("fmt", QUANTIZED, ids=lambda fmt: fmt.name)
def test_the_output_error_is_less_than_that_of_rounding_to_nearest(fmt: CandidateFormat) -> None:
    weight, moments = random_weight(32, 128, seed=1), moments_of(correlated_inputs(500, 128, seed=1))
    found = output_error(weight, GPTQ.fake_quantize(weight, fmt, moments), moments)
    assert found < 0.8 * output_error(weight, CLIP.fake_quantize(weight, fmt), moments)
    assert found < 0.8 * output_error(weight, fake_quantize(weight, fmt), moments)


@pytest.mark.parametrize("fmt", SOME, ids=lambda fmt: fmt.name)
def test_it_is_rounding_to_nearest_where_inputs_are_not_correlated(fmt: CandidateFormat) -> None:
    weight = random_weight(9, 96)
    diagonal = InputMoments(torch.diag(torch.linspace(0, 9, 96, dtype=torch.float64)), 50)
    for moments in (diagonal, no_moments(96)):
        found, nearest = GPTQ.encode(weight, fmt, moments), CLIP.encode(weight, fmt)
        assert torch.equal(codec_for(fmt).levels(found.codes, fmt), codec_for(fmt).levels(nearest.codes, fmt))
        assert found.scaling is not None
        assert nearest.scaling is not None
        assert torch.equal(found.scaling.effective, nearest.scaling.effective)


@pytest.mark.parametrize("tokens", [1, 5, 60])
def test_fewer_tokens_than_columns_are_enough_to_run(tokens: int) -> None:
    weight, moments = random_weight(16, 128), moments_of(correlated_inputs(tokens, 128))
    fmt = get_format("INT3_G64")
    found = output_error(weight, GPTQ.fake_quantize(weight, fmt, moments), moments)
    assert found < output_error(weight, fake_quantize(weight, fmt), moments)


def test_dead_inputs_are_rounded_to_nearest_and_disturb_no_others() -> None:
    fmt = get_format("INT4_CHANNEL")
    weight, inputs = random_weight(12, 64), correlated_inputs(200, 64)
    inputs[:, 10:20] = 0.0
    found = GPTQ.fake_quantize(weight, fmt, moments_of(inputs))
    assert torch.equal(found[:, 10:20], CLIP.fake_quantize(weight, fmt)[:, 10:20])
    levels = codec_for(fmt).levels(GPTQ.encode(weight, fmt, moments_of(inputs)).codes, fmt)
    assert torch.equal(levels, textbook(weight, fmt, moments_of(inputs)))


def test_repeated_inputs_and_huge_ones_are_factored() -> None:
    weight, inputs = random_weight(12, 64), correlated_inputs(200, 64)
    inputs[:, 1::2] = inputs[:, ::2]
    inputs[:, 7] *= 1e6
    found = GPTQ.fake_quantize(weight, get_format("INT4_G32"), moments_of(inputs))
    assert bool(found.isfinite().all())


def test_several_formats_in_one_sweep_equal_one_by_one() -> None:
    formats = SCALED
    weight, moments = random_weight(8, 72).bfloat16(), moments_of(correlated_inputs(100, 72))
    for fmt, encoded in zip(formats, GPTQ.encode_many(weight, formats, moments), strict=True):
        assert encoded.format == fmt
        assert torch.equal(decode(encoded), GPTQ.fake_quantize(weight, fmt, moments)), fmt.name
        if not fmt.is_quantized:
            assert torch.equal(decode(encoded), fake_quantize(weight, fmt))


def test_strips_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, moments = random_weight(30, 96), moments_of(correlated_inputs(100, 96))
    whole = GPTQ.encode_many(weight, SOME, moments)
    monkeypatch.setattr("sensitivity.rounding.gptq.SWEEP_ELEMENTS", len(SOME) * 96 * 7)
    for one, other in zip(whole, GPTQ.encode_many(weight, SOME, moments), strict=True):
        assert torch.equal(one.codes.view(torch.uint8), other.codes.view(torch.uint8)), one.format.name


def test_codes_fit_their_bits() -> None:
    weight, moments = random_weight(20, 128), moments_of(correlated_inputs(50, 128))
    for fmt, encoded in zip(QUANTIZED, GPTQ.encode_many(weight, QUANTIZED, moments), strict=True):
        found = codec_for(fmt).levels(encoded.codes, fmt)
        assert torch.equal(codec_for(fmt).round_(found.clone(), fmt), found), fmt.name


def test_neither_weights_nor_moments_are_written() -> None:
    weight, moments = random_weight(8, 64), moments_of(correlated_inputs(50, 64))
    before = weight.clone(), moments.hessian.clone()
    GPTQ.encode_many(weight, SOME, moments)
    assert torch.equal(weight, before[0])
    assert torch.equal(moments.hessian, before[1])


def test_what_cannot_be_rounded_is_refused() -> None:
    fmt, moments = get_format("INT4_G32"), no_moments(64)
    with pytest.raises(CalibrationError, match="calibration set"):
        GPTQ.encode(random_weight(4, 64), fmt)
    with pytest.raises(UnsupportedShapeError):
        GPTQ.encode(torch.zeros(64), fmt, moments)
    with pytest.raises(CorruptCheckpointError):
        GPTQ.encode(torch.full((4, 64), float("nan")), fmt, moments)


def test_damping_is_a_hyper_parameter() -> None:
    weight, moments, fmt = random_weight(8, 64), moments_of(correlated_inputs(40, 64)), get_format("INT3_G32")
    assert torch.equal(Gptq(damping=0.01).encode(weight, fmt, moments).codes, GPTQ.encode(weight, fmt, moments).codes)
    codes = Gptq(damping=1.0).encode(weight, fmt, moments).codes
    assert torch.equal(codes.float(), textbook(weight, fmt, moments, damping=1.0))
