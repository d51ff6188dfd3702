"""Energy of a layer's output, and of its change in every format, sequence by sequence: ``Σ_t ‖A x_t‖²`` for A = W and each ΔW."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor, nn

from sensitivity.probes.base import ProbeRun
from sensitivity.probes.rounding_errors import DTYPES, RoundingErrors
from sensitivity.probes.sequence_rows import Routing, SequenceRows, on_input

STRIP: Final = 192
"""Columns of a strip of a symmetric matrix: from its diagonal on to the right. What lies below is neither computed nor kept."""

GRAM_BYTES: Final = 1 << 30
"""The most that the products AᵀA of one layer may take."""


def packed_size(features: int) -> int:
    """Elements of the strips of a symmetric matrix of this order."""
    return sum(min(STRIP, features - first) * (features - first) for first in range(0, features, STRIP))


def packed_gram(rows: Tensor, out: Tensor | None = None) -> Tensor:
    """The strips of ``XᵀX`` for each of several X.

    Args:
        rows: several X, shape (count, rows, features).
        out: where to write, shape (count, packed size).

    Returns:
        Shape (count, packed size).
    """
    features = rows.shape[-1]
    packed = rows.new_empty((len(rows), packed_size(features))) if out is None else out
    for first, strip in _strips(packed, features):
        torch.bmm(rows[:, :, first : first + STRIP].transpose(1, 2), rows[:, :, first:], out=strip)
    return packed


def doubled_off_diagonal(packed: Tensor, features: int) -> Tensor:
    """Packed grams with every element beside the diagonal squares doubled, in place: it stands for its mirror image too.

    The inner product of these with plain packed grams is the inner product of the whole symmetric matrices.
    """
    for _, strip in _strips(packed, features):
        strip[:, :, STRIP:] *= 2
    return packed


def _packed_grams(matrices: Tensor) -> Tensor:
    """Packed grams of some A, doubled off the diagonal, (packed size, count): a column at a time, without a second copy."""
    features = matrices.shape[-1]
    grams = matrices.new_empty((packed_size(features), len(matrices)))
    for column, matrix in enumerate(matrices):
        grams[:, column] = doubled_off_diagonal(packed_gram(matrix[None]), features)[0]
    return grams


def _strips(packed: Tensor, features: int) -> Iterator[tuple[int, Tensor]]:
    """First column of each strip, and the strip as a view of shape (count, up to STRIP, features − first)."""
    start = 0
    for first in range(0, features, STRIP):
        shape = (min(STRIP, features - first), features - first)
        stop = start + shape[0] * shape[1]
        yield first, packed[:, start:stop].view(len(packed), *shape)
        start = stop


@dataclass(slots=True)
class _Layer:
    """One layer's matrices: W, then ΔW in each format that can store it.

    Shape (1 + K, out, in), or, as packed grams, (packed size, 1 + K): the long dimension first, with which the inner products
    of a few grams take half of the time that they take with it last.
    """

    position: int
    name: str
    matrices: Tensor
    as_gram: bool

    def energies(self, inputs: Tensor, gram: Tensor | None) -> Tensor:
        """Float64 (sequences, 1 + K) of inputs (sequences, rows, in), whose packed grams are ``gram``."""
        if gram is not None:
            return (gram @ self.matrices).double()
        outputs = (inputs @ matrix.T for matrix in self.matrices)
        return torch.stack([output.float().square().sum(dim=(1, 2)) for output in outputs], dim=-1).double()


@dataclass(slots=True)
class OutputEnergies:
    """Energies of some layers of a run.

    With ``H_s = Σ_t x_t x_tᵀ`` over the tokens of a sequence, ``Σ_t ‖A x_t‖² = tr(A H_s Aᵀ) = ⟨H_s, AᵀA⟩``. So ``AᵀA`` is
    computed once for each format and costs nothing per token; H_s is shared by layers with the same input; and every
    sequence is a sample of its own for the price of an inner product. Where a run has too few tokens for that to pay,
    ``A x`` itself is summed.

    Attributes:
        run: the run.
        layers: index in the run and name of each layer, P of them.
        arithmetic: of the products; all are accumulated in float32 at least.
        energies: float64 (sequences, P, 1 + formats): W first; formats that cannot store a layer stay 0.
        reached: whether the layer saw a token of the sequence, bool (sequences, P).
    """

    run: ProbeRun
    layers: Sequence[tuple[int, str]]
    arithmetic: str
    energies: Tensor = field(init=False)
    reached: Tensor = field(init=False)
    _layers: list[_Layer] = field(init=False)
    _last: tuple[Tensor, Tensor, Tensor | None] | None = None
    _grams: dict[tuple[int, int], Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sequences = len(self.run.calibration_tokens)
        shape = (sequences, len(self.layers), 1 + len(self.run.formats))
        self.energies = torch.zeros(shape, dtype=torch.float64)
        self.reached = torch.zeros(shape[:2], dtype=torch.bool)
        self._layers = [self._prepare(position, name) for position, (_, name) in enumerate(self.layers)]

    @contextlib.contextmanager
    def watching(self, scope: nn.Module, sequences: slice) -> Iterator[None]:
        """Observe what goes into the layers below ``scope`` while these sequences are run through it."""
        routing = Routing(scope, sequences.stop - sequences.start)
        handles = [*routing.handles, *(self._watch(layer, routing, sequences) for layer in self._layers)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._last = None

    def observe(self, name: str, inputs: Tensor, sequences: slice) -> None:
        """Observe inputs (sequences, length, in) of a layer that is not run itself."""
        layer = next(layer for layer in self._layers if layer.name == name)
        self._add(layer, inputs, SequenceRows(len(inputs)), sequences)

    def _watch(self, layer: _Layer, routing: Routing, sequences: slice) -> torch.utils.hooks.RemovableHandle:
        linear = self.run.model.linears[layer.name]
        return on_input(linear, lambda rows, _: self._add(layer, rows, routing.rows(linear), sequences))

    @torch.no_grad()
    def _add(self, layer: _Layer, rows: Tensor, places: SequenceRows, sequences: slice) -> None:
        inputs, gram = self._arranged(rows, places, as_gram=layer.as_gram)
        columns = [0, *(1 + k for k in self.run.storable(layer.name))]
        self.energies[sequences, layer.position, columns] += layer.energies(inputs, gram)
        counts = places.counts
        self.reached[sequences, layer.position] |= torch.ones((), dtype=torch.bool) if counts is None else counts > 0

    def _arranged(self, rows: Tensor, places: SequenceRows, *, as_gram: bool) -> tuple[Tensor, Tensor | None]:
        """Inputs and their gram; layers with the same input (q, k and v) share both."""
        known = self._last
        if known is None or known[0] is not rows:
            known = rows, places.arrange(rows).to(DTYPES[self.arithmetic]), None
        if as_gram and known[2] is None:
            known = *known[:2], packed_gram(known[1], self._reused(known[1]))
        self._last = known
        return known[1], known[2] if as_gram else None

    def _reused(self, inputs: Tensor) -> Tensor:
        """Where the grams of these inputs go: memory that is used again for the next inputs of this width."""
        sequences, _, features = inputs.shape
        if (sequences, features) not in self._grams:
            self._grams[sequences, features] = inputs.new_empty((sequences, packed_size(features)))
        return self._grams[sequences, features]

    @torch.no_grad()
    def _prepare(self, position: int, name: str) -> _Layer:
        dtype = DTYPES[self.arithmetic]
        weight = self.run.model.weight(name).to(dtype)
        matrices = torch.cat([weight[None], RoundingErrors(self.run, dtype).stack(name)])
        as_gram = _gram_pays(matrices, self.run.calibration_tokens.numel())
        if as_gram:
            matrices = _packed_grams(matrices)
        return _Layer(position, name, matrices, as_gram)


def _gram_pays(matrices: Tensor, tokens: int) -> bool:
    """Whether ``AᵀA`` once and ``XᵀX`` for all tokens is less work than ``A x`` for all tokens, and fits in memory."""
    count, out_features, in_features = matrices.shape
    less_work = count * out_features * in_features + tokens * in_features < count * tokens * out_features
    return less_work and count * packed_size(in_features) * matrices.element_size() <= GRAM_BYTES
