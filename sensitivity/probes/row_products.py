"""Inner products of the rows of weight gradients with the rows of rounding errors, taken inside the backward pass."""

from typing import Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sensitivity.probes.base import ProbeRun
from sensitivity.probes.rounding_errors import RoundingErrors
from sensitivity.probes.sequence_rows import on_input


class RowProducts:
    """``⟨g_o, δ_o⟩`` of every output row o, layer and format, on one sequence; passes add up.

    A layer's forward call leaves its input x; the backward pass brings the gradient d of its output, and ``g = dᵀ x``. Only one
    layer's g exists at a time.

    Use as a context manager around the forward and backward passes of one sequence.

    Attributes:
        products: by layer, float32 (K, out) for the K formats that can store it; layers without a call are missing.
    """

    def __init__(self, run: ProbeRun, errors: RoundingErrors) -> None:
        self.products: dict[str, Tensor] = {}
        self._run = run
        self._errors = errors
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        """Put the hooks in; the backward pass ends at the embeddings, so that no weight needs a gradient of its own."""
        embedding: nn.Module = self._run.model.module.get_input_embeddings()  # type: ignore[operator]
        self._handles = [embedding.register_forward_hook(lambda _module, _arguments, output: output.requires_grad_())]
        self._handles += [self._watch(name) for name in self._run.layers if self._run.storable(name)]
        return self

    def __exit__(self, *_: object) -> None:
        """Take the hooks out."""
        for handle in self._handles:
            handle.remove()

    def _watch(self, name: str) -> RemovableHandle:
        def receive(rows: Tensor, output: Tensor) -> None:
            inputs = rows.detach().reshape(-1, rows.shape[-1])
            output.register_hook(lambda gradient: self._multiply(name, inputs, gradient))  # type: ignore[no-untyped-call]

        return on_input(self._run.model.linears[name], receive)

    @torch.no_grad()
    def _multiply(self, name: str, inputs: Tensor, gradient: Tensor) -> None:
        weight_gradient = gradient.reshape(-1, gradient.shape[-1]).T @ inputs
        errors = self._errors.stack(name)
        found = torch.stack([(weight_gradient * error).sum(dim=-1) for error in errors])
        self.products[name] = self.products[name] + found if name in self.products else found
