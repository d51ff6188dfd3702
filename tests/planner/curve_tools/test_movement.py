"""The rule of what moved, and that it means what it says."""

import numpy as np
import pytest
import torch

from planner.curve_tools.movement import DEFAULT_RATIO, unmoved
from sensitivity.formats.registry import get_format
from sensitivity.rounding.registry import get_rounding

NAN = float("nan")


def test_a_change_far_below_the_rounding_error_has_not_moved() -> None:
    change = np.array([0.0, 1e-3, 2e-3, NAN])
    error = np.array([[0.02, 0.01, NAN, 0.0]] * 4)
    assert unmoved(change, error, ratio=0.1).tolist() == [
        [True, True, True, True],
        [True, True, False, False],
        [True, False, False, False],
        [False, False, False, False],
    ]


def test_nothing_to_judge() -> None:
    assert unmoved(np.zeros(0), np.zeros((0, 3)), ratio=0.1).shape == (0, 3)
    assert unmoved(np.ones(2), np.zeros((2, 0)), ratio=0.1).shape == (2, 0)


@pytest.mark.parametrize("name", ["INT2_G64", "INT4_G64", "INT8_G64"])
def test_the_cell_of_a_layer_that_has_not_moved_is_still_right(name: str) -> None:
    """The error at the layer's output, before and after a change at the limit of the rule."""
    fmt, rounding = get_format(name), get_rounding("rtn")
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(256, 256, generator=generator)
    roots = torch.logspace(0, -1.5, 256) * torch.linalg.qr(torch.randn(256, 256, generator=generator))[0]
    error = rounding.fake_quantize(weight, fmt) - weight
    change = torch.randn(256, 256, generator=generator)
    change *= DEFAULT_RATIO * error.norm() / change.norm()
    after = rounding.fake_quantize(weight + change, fmt) - (weight + change)
    assert float((after @ roots).square().sum()) == pytest.approx(float((error @ roots).square().sum()), rel=0.02)
