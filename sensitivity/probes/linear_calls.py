"""Calls of the linears of a block: recorded, or answered by something else for a while."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Answer = Callable[[Tensor], Tensor]
"""What stands in for the forward call of a linear."""


@dataclass(frozen=True, slots=True)
class LinearCall:
    """One forward call.

    Attributes:
        inputs: what went in, shape (..., in).
        output: what came out, shape (..., out).
    """

    inputs: Tensor
    output: Tensor


@contextlib.contextmanager
def recorded(scope: nn.Module) -> Iterator[dict[nn.Linear, LinearCall]]:
    """Note the calls of all linears below ``scope``, in their order; linears that are not called (idle experts) are missing."""
    calls: dict[nn.Linear, LinearCall] = {}

    def watch(linear: nn.Linear) -> RemovableHandle:
        def note(_module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
            calls[linear] = LinearCall(arguments[0], output)

        return linear.register_forward_hook(note)

    handles = [watch(module) for module in scope.modules() if isinstance(module, nn.Linear)]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def answered(answers: Mapping[nn.Linear, Answer]) -> Iterator[None]:
    """Let these answers stand in for the forward calls of linears."""
    try:
        for linear, answer in answers.items():
            vars(linear)["forward"] = answer
        yield
    finally:
        for linear in answers:
            vars(linear).pop("forward", None)
