"""Squared norms of per-sequence weight gradients, taken inside the backward pass, layer by layer."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sensitivity.probes.sequence_rows import Routing, SequenceRows, on_input


class ScoreNorms:
    """``‖G_s‖²`` of every sequence s of a batch and every layer, from hooks on the layers; backward passes add up.

    A layer's forward call leaves its input ``x``; the backward pass brings the gradient ``d`` of its output, and
    ``G_s = d_sᵀ x_s``. Where the sequence is short beside the layer, G is not made: ``‖dᵀ x‖² = ⟨d dᵀ, x xᵀ⟩``.

    Use as a context manager around a forward pass of the body and its backward passes.

    Attributes:
        squares: float64 (sequences, layers).
        reached: whether the layer saw a token of the sequence, bool (sequences, layers).
    """

    def __init__(self, module: nn.Module, layers: Sequence[nn.Linear | None], *, sequences: int) -> None:
        """Norms of a batch.

        Args:
            module: causal language model.
            layers: linears of its body; ``None`` leaves a column zero.
            sequences: sequences of the batch.
        """
        self.squares = torch.zeros((sequences, len(layers)), dtype=torch.float64)
        self.reached = torch.zeros((sequences, len(layers)), dtype=torch.bool)
        self._module = module
        self._layers = layers
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        """Put the hooks in."""
        embedding: nn.Module = self._module.get_input_embeddings()  # type: ignore[operator]
        routing = Routing(self._module, len(self.squares))
        self._handles = [embedding.register_forward_hook(_require_gradient), *routing.handles]
        watched = [(index, linear) for index, linear in enumerate(self._layers) if linear is not None]
        self._handles += [self._watch(index, linear, routing) for index, linear in watched]
        return self

    def __exit__(self, *_: object) -> None:
        """Take the hooks out."""
        for handle in self._handles:
            handle.remove()

    def _watch(self, index: int, linear: nn.Linear, routing: Routing) -> RemovableHandle:
        def receive(rows: Tensor, output: Tensor) -> None:
            places, inputs = routing.rows(linear), rows.detach()
            counts = places.counts
            self.reached[:, index] |= torch.ones(places.sequences, dtype=torch.bool) if counts is None else counts > 0
            output.register_hook(lambda gradient: self._add(index, places, inputs, gradient))  # type: ignore[no-untyped-call]

        return on_input(linear, receive)

    @torch.no_grad()
    def _add(self, index: int, places: SequenceRows, inputs: Tensor, gradient: Tensor) -> None:
        self.squares[:, index] += squared_norms(places.arrange(inputs), places.arrange(gradient))


def squared_norms(inputs: Tensor, gradients: Tensor) -> Tensor:
    """``‖dᵀ x‖²`` of each sequence, float64 (sequences,), by whichever of the two products is smaller.

    Args:
        inputs: x, (sequences, rows, in).
        gradients: d, (sequences, rows, out).
    """
    rows, width, height = inputs.shape[1], inputs.shape[2], gradients.shape[2]
    if rows * (width + height) < width * height:
        pairs = torch.bmm(gradients, gradients.mT).mul_(torch.bmm(inputs, inputs.mT))
        return pairs.sum(dim=(1, 2), dtype=torch.float64)
    return torch.bmm(gradients.mT, inputs).square_().sum(dim=(1, 2), dtype=torch.float64)


def _require_gradient(_module: nn.Module, _arguments: object, output: Tensor) -> None:
    """The backward pass ends at the embeddings, so that no weight needs a gradient of its own."""
    output.requires_grad_()
