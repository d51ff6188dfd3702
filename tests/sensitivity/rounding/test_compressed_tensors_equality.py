"""Fake quantization equals compressed-tensors bit for bit, for every format that it has."""

import pytest
import torch

from sensitivity.formats.candidate import CandidateFormat
from sensitivity.rounding import encode, fake_quantize
from tests.sensitivity.compressed_tensors_reference import fake_quantized, parameters
from tests.sensitivity.rounding.matrices import matrices_for
from tests.sensitivity.rounding.scaled_formats import IN_COMPRESSED_TENSORS

SHARED = [fmt for fmt in IN_COMPRESSED_TENSORS if fmt.is_quantized]


@pytest.mark.parametrize("fmt", SHARED, ids=lambda fmt: fmt.name)
def test_decoded_weights_are_equal(fmt: CandidateFormat) -> None:
    for case, weight in matrices_for(fmt).items():
        ours = fake_quantize(weight, fmt)
        assert ours.dtype == torch.float32
        assert torch.equal(ours, fake_quantized(weight, fmt)), case


@pytest.mark.parametrize("fmt", SHARED, ids=lambda fmt: fmt.name)
def test_scales_and_zero_points_are_equal(fmt: CandidateFormat) -> None:
    for case, weight in matrices_for(fmt).items():
        scale, zero_point, global_scale = parameters(weight.float(), fmt)
        ours = encode(weight, fmt).scaling
        assert ours is not None
        effective = scale if global_scale is None else scale / global_scale
        assert torch.equal(ours.effective, effective.reshape(ours.effective.shape)), case
        if global_scale is not None:
            assert ours.global_scale is not None
            assert torch.equal(ours.global_scale, global_scale), case
        if ours.zero_point is not None:
            assert torch.equal(ours.zero_point, zero_point.reshape(ours.zero_point.shape)), case
