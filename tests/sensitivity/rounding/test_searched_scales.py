"""Searched scales: never worse than round to nearest, group by group; the best candidate; decoded alike by compressed-tensors."""

import numpy as np
import pytest
import torch
from compressed_tensors.quantization.lifecycle.forward import dequantize
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from sensitivity.formats.candidate import CandidateFormat, ElementType, Strategy
from sensitivity.formats.registry import get_format
from sensitivity.rounding import codec_for, decode, encode, fake_quantize, get_rounding
from sensitivity.rounding.groups import as_groups, extremes, group_width
from sensitivity.rounding.scale_search import MARGIN, is_searched
from tests.sensitivity.compressed_tensors_reference import arguments
from tests.sensitivity.rounding.matrices import matrices_for
from tests.sensitivity.rounding.scaled_formats import SCALED

CLIP = get_rounding("rtn_clip")
SEARCHED = [fmt for fmt in SCALED if is_searched(fmt)]
SOME = [get_format(name) for name in ("INT2_G32", "INT4_G64", "INT3_CHANNEL", "INT4_G32_ASYM", "NVFP4", "MXFP4", "NF4_G64")]


def squared_errors(weight: Tensor, rounded: Tensor, fmt: CandidateFormat) -> Tensor:
    """Of each group, float64."""
    width = group_width(fmt, weight.shape[1])
    return as_groups((rounded.double() - weight.double()).square(), width).sum(-1)


def random_matrix(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("fmt", SEARCHED, ids=lambda fmt: fmt.name)
def test_no_group_is_worse_than_round_to_nearest(fmt: CandidateFormat) -> None:
    for case, weight in matrices_for(fmt).items():
        for matrix in (weight, weight[:, :77]):
            plain, found = fake_quantize(matrix, fmt), CLIP.fake_quantize(matrix, fmt)
            assert bool((squared_errors(matrix, found, fmt) <= squared_errors(matrix, plain, fmt)).all()), case


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(SEARCHED),
    hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 150)), elements=st.floats(-4, 4, width=32)),
)
def test_no_group_of_any_matrix_is_worse(fmt: CandidateFormat, array: np.ndarray) -> None:
    weight = torch.from_numpy(array)
    plain, found = fake_quantize(weight, fmt), CLIP.fake_quantize(weight, fmt)
    assert bool((squared_errors(weight, found, fmt) <= squared_errors(weight, plain, fmt)).all())


@pytest.mark.parametrize("fmt", SOME, ids=lambda fmt: fmt.name)
def test_the_best_candidate_is_found(fmt: CandidateFormat) -> None:
    """Each candidate on its own, errors in float64."""
    weight = random_matrix(9, 200) * torch.linspace(0.1, 3, 200)
    codec, found = codec_for(fmt), extremes(weight, group_width(fmt, 200))
    plain = codec.scaling(*found, fmt)
    errors = []
    for factor in codec.shrinks(fmt):
        scaling = codec.shrunk(*found, fmt, factor=factor, like=plain)
        offset = torch.zeros_like(scaling.effective) if scaling.zero_point is None else scaling.zero_point.float()
        groups = as_groups(weight, group_width(fmt, 200))
        levels = codec.round_(groups / scaling.effective[..., None] + offset[..., None], fmt)
        decoded = (levels - offset[..., None]) * scaling.effective[..., None]
        errors.append((decoded.double() - groups.double()).square().sum(-1))
    errors.append(squared_errors(weight, fake_quantize(weight, fmt), fmt))
    least = torch.stack(errors).min(dim=0).values
    ours = squared_errors(weight, CLIP.fake_quantize(weight, fmt), fmt)
    assert bool((ours <= least * (1 + 2 * MARGIN)).all())


@pytest.mark.parametrize("fmt", SOME, ids=lambda fmt: fmt.name)
def test_the_search_pays_and_does_not_depend_on_strips(fmt: CandidateFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = random_matrix(60, 192)
    found = CLIP.encode(weight, fmt)
    plain = squared_errors(weight, fake_quantize(weight, fmt), fmt).sum()
    assert squared_errors(weight, decode(found), fmt).sum() < 0.999 * plain
    monkeypatch.setattr("sensitivity.rounding.scale_search.STRIP_ELEMENTS", 400)
    monkeypatch.setattr("sensitivity.rounding.scale_search.BLOCK_ELEMENTS", 3000)
    again = CLIP.encode(weight, fmt)
    assert found.scaling is not None
    assert again.scaling is not None
    assert torch.equal(again.codes, found.codes)
    assert torch.equal(again.scaling.effective, found.scaling.effective)


def test_formats_without_a_better_scale_are_left_alone() -> None:
    alone = [fmt for fmt in SCALED if fmt not in SEARCHED]
    assert {fmt.name for fmt in alone} == {"FP8", "FP8_TENSOR", "BF16", "FP16"}
    weight = random_matrix(5, 130)
    for fmt in alone:
        assert torch.equal(CLIP.fake_quantize(weight, fmt), fake_quantize(weight, fmt))


def test_several_formats_equal_one_by_one() -> None:
    weight = random_matrix(7, 100).bfloat16()
    for fmt, encoded in zip(SCALED, CLIP.encode_many(weight, SCALED), strict=True):
        assert torch.equal(decode(encoded), CLIP.fake_quantize(weight, fmt)), fmt.name


def test_a_negative_scale_puts_the_greatest_weight_on_the_extra_code() -> None:
    fmt = get_format("INT2_G32")
    weight = torch.zeros(1, 32)
    weight[0, :4] = torch.tensor([1.0, 0.5, -0.5, 1.0])
    encoded = CLIP.encode(weight, fmt)
    assert encoded.scaling is not None
    assert encoded.scaling.stored.tolist() == [[-0.5]]
    assert encoded.codes[0, :4].tolist() == [-2, -1, 1, -2]
    assert torch.equal(decode(encoded), weight)


INTEGERS = [fmt for fmt in SEARCHED if fmt.type is ElementType.INT]


@pytest.mark.parametrize("fmt", INTEGERS, ids=lambda fmt: fmt.name)
def test_compressed_tensors_decodes_our_integers_to_the_same_weights(fmt: CandidateFormat) -> None:
    encoded = CLIP.encode(random_matrix(24, 256), fmt)
    scaling = encoded.scaling
    assert scaling is not None
    assert fmt.symmetric == bool((scaling.stored < 0).any())
    theirs = dequantize(encoded.codes, scaling.stored.float(), scaling.zero_point, arguments(fmt))
    assert torch.equal(theirs, decode(encoded))


def test_stored_and_effective_scales_are_the_same_numbers() -> None:
    for fmt in SEARCHED:
        scaling = CLIP.encode(random_matrix(4, 256), fmt).scaling
        assert scaling is not None
        if fmt.scale_dtype == "bfloat16":
            assert torch.equal(scaling.stored.float(), scaling.effective), fmt.name
        elif fmt.strategy is Strategy.TENSOR_GROUP:
            plain = encode(random_matrix(4, 256), fmt).scaling
            assert plain is not None
            assert plain.global_scale is not None
            assert scaling.global_scale is not None
            assert torch.equal(scaling.global_scale, plain.global_scale)
            assert torch.equal(scaling.stored.float() / scaling.global_scale, scaling.effective)
        else:
            assert torch.equal(torch.exp2(scaling.stored.float() - 127), scaling.effective)
