"""The scale search weighted by the layer's inputs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from sensitivity.errors import CalibrationError
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import get_format
from sensitivity.inputs.moments import InputMoments, no_moments
from sensitivity.rounding import decode, fake_quantize, get_rounding
from sensitivity.rounding.groups import as_groups, group_width
from sensitivity.rounding.scale_search import is_searched
from tests.sensitivity.rounding.scaled_formats import SCALED
from tests.sensitivity.rounding.second_moments import correlated_inputs, moments_of, output_error

DIAGONAL = get_rounding("rtn_diagonal")
CLIP = get_rounding("rtn_clip")
SEARCHED = [fmt for fmt in SCALED if is_searched(fmt)]


def weighted_errors(weight: Tensor, rounded: Tensor, fmt: CandidateFormat, moments: InputMoments) -> Tensor:
    """Of each group, float64, with the damping of the method."""
    diagonal = moments.hessian.diagonal()
    squares = (rounded.double() - weight.double()).square() * (diagonal + 0.01 * diagonal.mean())
    return as_groups(squares, group_width(fmt, weight.shape[1])).sum(-1)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(SEARCHED),
    hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(2, 150)), elements=st.floats(-4, 4, width=32)),
    st.integers(0, 99),
)
def test_no_group_is_worse_than_round_to_nearest(fmt: CandidateFormat, array: np.ndarray, seed: int) -> None:
    weight = torch.from_numpy(array)
    moments = moments_of(correlated_inputs(20, weight.shape[1], seed=seed))
    plain, found = fake_quantize(weight, fmt), DIAGONAL.fake_quantize(weight, fmt, moments)
    allowed = weighted_errors(weight, plain, fmt, moments) * (1 + 1e-12)
    assert bool((weighted_errors(weight, found, fmt, moments) <= allowed).all())


@pytest.mark.parametrize("fmt", SEARCHED, ids=lambda fmt: fmt.name)
def test_the_weighted_error_is_not_more_than_that_of_the_plain_search(fmt: CandidateFormat) -> None:
    weight = torch.randn(20, 130, generator=torch.Generator().manual_seed(0))
    moments = moments_of(correlated_inputs(200, 130))
    found = weighted_errors(weight, DIAGONAL.fake_quantize(weight, fmt, moments), fmt, moments)
    plain = weighted_errors(weight, CLIP.fake_quantize(weight, fmt), fmt, moments)
    assert bool((found <= plain * (1 + 1e-4)).all())


def test_alike_inputs_or_none_give_the_plain_search() -> None:
    weight = torch.randn(6, 100, generator=torch.Generator().manual_seed(0))
    alike = InputMoments(torch.eye(100, dtype=torch.float64) * 0.25, 10)
    for fmt in SCALED:
        for moments in (alike, no_moments(100)):
            assert torch.equal(DIAGONAL.fake_quantize(weight, fmt, moments), CLIP.fake_quantize(weight, fmt)), fmt.name


def test_outputs_come_closer_where_inputs_differ_in_size() -> None:
    weight = torch.randn(40, 128, generator=torch.Generator().manual_seed(0))
    moments = moments_of(correlated_inputs(500, 128))
    fmt = get_format("INT3_G64")
    encoded = DIAGONAL.encode(weight, fmt, moments)
    assert output_error(weight, decode(encoded), moments) < 0.9 * output_error(weight, fake_quantize(weight, fmt), moments)


def test_inputs_are_needed() -> None:
    with pytest.raises(CalibrationError, match="rtn_diagonal"):
        DIAGONAL.encode(torch.zeros(2, 64), get_format("INT4_G64"))
