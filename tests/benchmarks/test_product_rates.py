"""Matrix products of the stock library, of oneDNN, and in bfloat16, in one run on one thread: what other arithmetic would buy.

The shapes are those of SmolLM2-135M's layers for 2048 tokens: an input through a linear layer, and a gradient back through it.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.benchmarks.timing import Turns

SHAPES = ((576, 1536), (1536, 576), (576, 576))
TOKENS, TURNS = 2048, 20


def onednn(rows: Tensor, weight: Tensor) -> Tensor:
    """``rows @ weightᵀ`` in float32 by oneDNN, which PyTorch does not choose by itself."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, None, "none", [], "")
    return product


def medium(rows: Tensor, weight: Tensor) -> Tensor:
    """The same with ``set_float32_matmul_precision("medium")``: oneDNN may multiply in bfloat16 where it thinks it pays."""
    torch.set_float32_matmul_precision("medium")
    try:
        return rows @ weight.T
    finally:
        torch.set_float32_matmul_precision("highest")


def bfloat16(rows: Tensor, weight: Tensor) -> Tensor:
    """Cast, multiplied and cast back."""
    return (rows.bfloat16() @ weight.bfloat16().T).float()


def stock(rows: Tensor, weight: Tensor) -> Tensor:
    """What a forward pass does."""
    return rows @ weight.T


@pytest.mark.benchmark
@torch.no_grad()
def test_rates_of_products(capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ways: list[Callable[[Tensor, Tensor], Tensor]] = [stock, onednn, medium, bfloat16]
    turns, worst = Turns(), dict.fromkeys((way.__name__ for way in ways), 0.0)
    for width, height in SHAPES:
        rows, gradient, weight = torch.randn(TOKENS, width), torch.randn(TOKENS, height), torch.randn(height, width)
        for left, right in ((rows, weight), (gradient, weight.T)):
            exact = left.double() @ right.double().T
            for way in ways:
                error = float((way(left, right) - exact).abs().max() / exact.abs().mean())
                worst[way.__name__] = max(worst[way.__name__], error)
            for _ in range(TURNS):
                for way in ways:
                    with turns.timed(way.__name__):
                        way(left, right)
    torch.set_num_threads(threads)
    operations = TURNS * sum(2 * 2 * TOKENS * width * height for width, height in SHAPES)
    with capsys.disabled():
        for name, seconds in turns.processor.items():
            rate, ratio = operations / seconds / 1e9, turns.processor["stock"] / seconds
            print(f"{name:>10} {rate:6.0f} Gflop/s  {ratio:5.2f} × stock  largest error {worst[name]:.0e} of the mean")  # noqa: T201
    assert worst["stock"] < 1e-4
    assert worst["onednn"] < 1e-4
