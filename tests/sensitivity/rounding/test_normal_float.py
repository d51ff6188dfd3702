"""NF4 against an independent float64 nearest-level search, and its levels against the normal quantiles of the paper."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from sensitivity.formats.registry import get_format
from sensitivity.rounding import encode, fake_quantize
from sensitivity.rounding.normal_float import NF4_LEVELS
from tests.sensitivity.rounding.matrices import nasty_matrices

NF4 = get_format("NF4_G64")


def test_levels_are_the_papers_quantiles() -> None:
    # arXiv 2305.14314, appendix E: 8 quantiles above zero, 7 below, zero itself; the outermost at 1 - (1/32 + 1/30)/2.
    tail = 1 - (1 / 32 + 1 / 30) / 2
    above = norm.ppf(np.linspace(tail, 0.5, 9)[:-1])
    below = -norm.ppf(np.linspace(tail, 0.5, 8)[:-1])
    levels = np.sort(np.concatenate([above, below, [0.0]])) / above.max()
    np.testing.assert_allclose(NF4_LEVELS, levels, atol=1e-6)


@pytest.mark.parametrize("case", nasty_matrices())
def test_every_weight_goes_to_the_nearest_level(case: str) -> None:
    weight = nasty_matrices()[case]
    scaling = encode(weight, NF4).scaling
    assert scaling is not None
    scale = scaling.effective.repeat_interleave(64, dim=1)
    scaled = (weight.float() / scale).double().numpy()
    levels = np.array(NF4_LEVELS, dtype=np.float32).astype(np.float64)
    index = np.abs(scaled[..., None] - levels).argmin(axis=-1)  # the first of two equals is the lower one
    reference = levels[index].astype(np.float32) * scale.numpy()
    np.testing.assert_array_equal(fake_quantize(weight, NF4).numpy(), reference)


def test_midpoints_go_down_and_the_next_number_goes_up() -> None:
    levels = torch.tensor(NF4_LEVELS).double()
    middle = (levels[1:] + levels[:-1]) / 2
    nearest = middle.float()
    above = torch.where(nearest.double() > middle, nearest, torch.nextafter(nearest, torch.tensor(2.0)))
    below = torch.nextafter(above, torch.tensor(-2.0))
    weight = torch.cat([torch.ones(1), below, above, torch.linspace(-1, 1, 33)])[None]
    found = fake_quantize(weight, NF4)[0]
    assert torch.equal(found[1:16].double(), levels[:-1])
    assert torch.equal(found[16:31].double(), levels[1:])


def test_the_scale_is_the_greatest_magnitude_of_the_group() -> None:
    weight = torch.zeros(1, 128)
    weight[0, 3], weight[0, 100] = -2.0, 0.5
    found = fake_quantize(weight, NF4)
    assert found[0, 3] == -2.0
    assert found[0, 100] == 0.5
