"""Which experts the routers of a mixture choose, and how often a change of the model makes them choose others."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from sensitivity.loading.experts import RoutedExperts


@contextlib.contextmanager
def recorded_choices(module: nn.Module, sequences: int, found: dict[nn.Module, list[Tensor]]) -> Iterator[None]:
    """Record the choices of all routers below a module, while it runs.

    Args:
        module: a block, or a whole model.
        sequences: sequences of the batch that it runs on.
        found: to each list of experts, int64 (sequences, length, k) is added for each call: the experts that each token is
            routed to, in ascending order.
    """

    def record(routed: nn.Module, arguments: tuple[Tensor, Tensor, Tensor]) -> None:
        chosen = arguments[1]
        found.setdefault(routed, []).append(chosen.reshape(sequences, -1, chosen.shape[-1]).sort(dim=-1).values)

    handles = [child.register_forward_pre_hook(record) for child in module.modules() if isinstance(child, RoutedExperts)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def flip_shares(reference: Tensor, changed: Tensor) -> Tensor:
    """Share of the tokens of each sequence that are routed to another set of experts, float64 (sequences,).

    Args:
        reference: int64 (sequences, length, k), as ``recorded_choices`` gives it.
        changed: as much, of the changed model.
    """
    return (reference != changed).any(dim=-1).to(torch.float64).mean(dim=-1)


def routers_of(module: nn.Module) -> int:
    """How many routers there are below a module: 0 for a dense model."""
    return sum(isinstance(child, RoutedExperts) for child in module.modules())
