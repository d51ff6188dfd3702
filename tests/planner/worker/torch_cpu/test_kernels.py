"""Real kernels beside a dense float64 product with the weights that their curves are of."""

import pytest
import torch
from torch import Tensor, nn

from planner.errors import InvalidRequestError
from planner.runtimes.torch_cpu import KERNELS, RUNTIME
from planner.worker.torch_cpu.applying import apply_layers, build_layers, time_layers
from planner.worker.torch_cpu.kernels import kernel_linear
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.registry import all_formats, get_format
from sensitivity.rounding.rtn import encode, fake_quantize

SHAPES = [(16, 128), (48, 256), (96, 384), (17, 128), (1, 16), (100, 48)]
BFLOAT16_STEP = 2.0**-8


def weight_of(shape: tuple[int, int]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 0.05


def legal(shape: tuple[int, int]) -> list[str]:
    return [name for name in KERNELS if RUNTIME.refusal(get_format(name), Layer("", "", None, None, *shape)) is None]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows", [1, 2, 5, 33])
def test_a_kernel_multiplies_with_the_weights_that_the_curves_are_of(shape: tuple[int, int], rows: int) -> None:
    """Within a few steps of bfloat16, in which the activations and the results are."""
    weight, bias = weight_of(shape), torch.linspace(-1, 1, shape[0])
    inputs = torch.randn(rows, shape[1], generator=torch.Generator().manual_seed(2)).bfloat16()
    for name in legal(shape):
        fmt = get_format(name)
        exact = inputs.double() @ fake_quantize(weight, fmt).double().T + bias.bfloat16().double()
        found = kernel_linear(encode(weight, fmt), bias)(inputs)
        assert found.dtype == inputs.dtype
        assert (found.double() - exact).norm() <= BFLOAT16_STEP * 2 * exact.norm(), name


def test_only_shapes_that_the_kernels_take_are_legal() -> None:
    """torch crashes the whole process, or refuses, elsewhere."""
    assert legal((48, 256)) == list(KERNELS)
    assert legal((17, 128)) == ["BF16", "INT8_CHANNEL"]
    assert legal((16, 100)) == ["BF16"]
    assert legal((16, 96)) == ["BF16", "INT8_CHANNEL", "INT4_G32"]
    for fmt in all_formats():
        assert fmt.name in KERNELS or RUNTIME.refusal(fmt, Layer("", "", None, None, 128, 128)) is not None
    with pytest.raises(InvalidRequestError, match="divisible by 16"):
        kernel_linear(encode(weight_of((16, 100)), get_format("INT8_CHANNEL")))
    with pytest.raises(InvalidRequestError, match="no kernel"):
        kernel_linear(encode(weight_of((16, 128)), get_format("INT3_G64")))


def test_stored_bits_are_those_of_the_kernels_buffers() -> None:
    shape = (48, 256)
    for name in KERNELS:
        buffers = kernel_linear(encode(weight_of(shape), get_format(name))).buffers()
        assert sum(8 * buffer.nbytes for buffer in buffers) == RUNTIME.size_bits(get_format(name), shape), name


def test_a_plan_is_applied_to_a_model() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 128, bias=False))
    first, last = model[0], model[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    linears = {"a": first, "b": last}
    inputs = torch.randn(2, 3, 128)
    with torch.inference_mode():
        exact = model(inputs)
        layers = build_layers(linears, {"a": "INT8_CHANNEL", "b": "BF16"})
        apply_layers(model, linears, layers)
        found = model(inputs)
    assert found.shape == exact.shape
    assert 0 < (found - exact).norm() < 0.02 * exact.norm()
    assert time_layers(list(layers.values()), [128, 64], batch=2) > 0
    with pytest.raises(InvalidRequestError, match="no layers c"):
        build_layers(linears, {"c": "BF16"})
