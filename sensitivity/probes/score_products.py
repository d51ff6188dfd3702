"""Inner products of per-sequence score matrices with rounding errors, taken inside the backward pass, layer by layer."""

from typing import Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sensitivity.probes.base import ProbeRun
from sensitivity.probes.rounding_errors import RoundingErrors
from sensitivity.probes.sequence_rows import Routing, SequenceRows, on_input


class ScoreProducts:
    """``⟨G_s, ΔW_k⟩`` of every sequence s of a batch, layer and format, from hooks on the layers.

    A layer's forward call leaves its input ``x``; the backward pass brings the gradient ``d`` of its output. Then
    ``G_s = d_sᵀ x_s`` for all sequences is one batched product, and all inner products are one product with the stack of
    ΔW, which is read from memory once a batch. Only one layer's G exists at a time.

    Use as a context manager around a forward pass and its backward passes.

    Attributes:
        products: float64 (draws, sequences, layers, formats).
        reached: whether the layer saw a token of the sequence, bool (sequences, layers).
        draw: the draw that the next backward pass belongs to.
        alone: the only sequence of the next calls (the head is run one sequence at a time); ``None`` for all.
    """

    def __init__(self, run: ProbeRun, errors: RoundingErrors, *, sequences: int, draws: int) -> None:
        self.run = run
        self.errors = errors
        self.products = torch.zeros((draws, sequences, len(run.layers), len(run.formats)), dtype=torch.float64)
        self.reached = torch.zeros((sequences, len(run.layers)), dtype=torch.bool)
        self.draw = 0
        self.alone: int | None = None
        self._sequences = sequences
        self._handles: list[RemovableHandle] = []
        self._last: tuple[Tensor, Tensor] | None = None
        self._scores: dict[tuple[int, int, int], Tensor] = {}

    def __enter__(self) -> Self:
        """Put the hooks in."""
        embedding: nn.Module = self.run.model.module.get_input_embeddings()  # type: ignore[operator]
        routing = Routing(self.run.model.module, self._sequences)
        self._handles = [embedding.register_forward_hook(_require_gradient), *routing.handles]
        for index, name in enumerate(self.run.layers):
            if self.run.storable(name):
                self._handles.append(self._watch(index, name, routing))
        return self

    def __exit__(self, *_: object) -> None:
        """Take the hooks out, and let go of the graph: its hooks hold this object, so it would never be freed."""
        for handle in self._handles:
            handle.remove()
        self._last = None

    def _watch(self, index: int, name: str, routing: Routing) -> RemovableHandle:
        linear = self.run.model.linears[name]

        def receive(rows: Tensor, output: Tensor) -> None:
            places = SequenceRows(1) if self.alone is not None else routing.rows(linear)
            inputs = self._arranged(rows, places)
            self._reach(index, places)
            output.register_hook(lambda gradient: self._multiply(index, inputs, places.arrange(gradient)))  # type: ignore[no-untyped-call]

        return on_input(linear, receive)

    def _arranged(self, rows: Tensor, places: SequenceRows) -> Tensor:
        """Inputs as (sequences, rows, in); layers with the same input (q, k and v) share them."""
        if self._last is None or self._last[0] is not rows:
            self._last = rows, places.arrange(rows.detach()).to(self.errors.dtype)
        return self._last[1]

    def _reach(self, index: int, places: SequenceRows) -> None:
        counts = places.counts
        self.reached[self._which, index] |= torch.ones(places.sequences, dtype=torch.bool) if counts is None else counts > 0

    @property
    def _which(self) -> slice:
        return slice(None) if self.alone is None else slice(self.alone, self.alone + 1)

    @torch.no_grad()
    def _multiply(self, index: int, inputs: Tensor, gradient: Tensor) -> None:
        name = self.run.layers[index]
        shape = (len(inputs), gradient.shape[-1], inputs.shape[-1])
        if shape not in self._scores:
            self._scores[shape] = torch.empty(shape, dtype=self.errors.dtype)
        score = torch.bmm(gradient.to(self.errors.dtype).transpose(1, 2), inputs, out=self._scores[shape])
        found = score.flatten(1) @ self.errors.stack(name).flatten(1).T
        self.products[self.draw, self._which, index, self.run.storable(name)] += found.double()


def _require_gradient(_module: nn.Module, _arguments: object, output: Tensor) -> None:
    """The backward pass ends at the embeddings, so that no weight needs a gradient of its own."""
    output.requires_grad_()
