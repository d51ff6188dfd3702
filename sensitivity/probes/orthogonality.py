"""OMPQ's orthogonality: how much a layer's outputs repeat those of the others."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sensitivity.formats.any_format import AnyFormat
from sensitivity.probe_facts import ORTHOGONALITY, ProbeFacts
from sensitivity.probes.base import AbstractProbe, ProbeRun, Unit, sequence_units
from sensitivity.probes.block_walk import BlockWalk
from sensitivity.probes.sequence_rows import Routing, on_input
from sensitivity.statistics import Statistics, observe

UNIT_SEQUENCES: Final = 8
"""Sequences of a unit."""


@final
@dataclass(frozen=True, slots=True)
class Orthogonality(AbstractProbe[AnyFormat]):
    """``γ_i = Σ_{j≠i} ORM(i, j)`` over all layers j of the blocks, ``ORM(i, j) = ‖F_jᵀ F_i‖² / (‖F_iᵀ F_i‖ ‖F_jᵀ F_j‖)``.

    OMPQ (arXiv 2109.07865); F are a layer's outputs, a row a position, norms are Frobenius', and ORM is the linear CKA
    without centring: 1 where two layers' outputs agree but for a rotation and a scale, 0 where they are orthogonal. OMPQ gives
    more bits to layers with a *small* γ. A ranking. A batch of OMPQ is a sequence here, and so a sample.

    γ is always over all layers of the blocks, whichever are asked for. Outputs of an expert are zero where a token does not reach
    it; an expert that a sequence does not reach counts neither as i nor as j on it.

    Units: eight sequences. Cost: one forward pass for each unit, ``positions² × outputs`` for each layer and sequence, and for
    each pair of layers an inner product of ``positions²``; a streamed model is read once for each sequence. Memory:
    ``positions²`` floats for each layer of a sequence, and a float for each pair of layers.

    Attributes:
        positions: how many positions of a sequence are rows of F, evenly spaced.
    """

    facts: ClassVar[ProbeFacts] = ORTHOGONALITY

    positions: int = 128

    def units(self, *, blocks: int, sequences: int) -> list[Unit]:
        """Chunks of eight sequences."""
        return sequence_units(sequences, UNIT_SEQUENCES)

    @torch.no_grad()
    def run(self, run: ProbeRun[AnyFormat], unit: Unit) -> Statistics:
        """Measure all layers on the unit's sequences.

        Raises:
            CalibrationError: the run has no tokens.
        """
        result = run.no_statistics()
        for sequence in unit.indices:
            tokens = run.calibration_tokens[sequence : sequence + 1]
            grams = _Grams(run, _evenly(tokens.shape[1], self.positions))
            walk = BlockWalk(run.model, tokens)
            for block in range(len(run.model.blocks)):
                walk.cross(block, grams.watching)
            found = dict(zip(grams.found, repetitions(torch.stack(list(grams.found.values()))), strict=True))
            for index, name in enumerate(run.layers):
                if name in found:
                    result[index, run.storable(name)] += observe(np.array([found[name]]))
        return result


def repetitions(grams: Tensor) -> NDArray[np.float64]:
    """``γ`` of each layer from the Gram matrices ``F Fᵀ`` of all, float32 (layers, positions, positions): float64 (layers,).

    ``‖F_jᵀ F_i‖² = ⟨F_i F_iᵀ, F_j F_jᵀ⟩``.
    """
    flat = grams.flatten(1)
    unit = flat / flat.norm(dim=1, keepdim=True)
    products: NDArray[np.float64] = (unit @ unit.T).double().numpy()
    others: NDArray[np.float64] = products.sum(axis=1) - np.diagonal(products)
    return others


def _evenly(length: int, positions: int) -> Tensor:
    """At most so many positions of a sequence, int64, evenly spaced."""
    count = min(length, positions)
    return torch.arange(count) * length // count


@dataclass(slots=True)
class _Grams:
    """Gram matrices of the layers' outputs on one sequence, by name; layers without an output there are missing."""

    run: ProbeRun[AnyFormat]
    positions: Tensor
    found: dict[str, Tensor] = field(default_factory=dict)

    @contextlib.contextmanager
    def watching(self, scope: nn.Module, sequences: slice) -> Iterator[None]:
        routing = Routing(scope, sequences.stop - sequences.start)
        names = {linear: name for name, linear in self.run.model.linears.items()}
        watched = [(names[module], module) for module in scope.modules() if isinstance(module, nn.Linear) and module in names]
        handles = [*routing.handles, *(self._watch(name, linear, routing) for name, linear in watched)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _watch(self, name: str, linear: nn.Linear, routing: Routing) -> torch.utils.hooks.RemovableHandle:
        return on_input(linear, lambda _, output: self._add(name, output, routing.tokens(linear)))

    def _add(self, name: str, output: Tensor, tokens: Tensor | None) -> None:
        rows = output.reshape(-1, output.shape[-1])
        if tokens is not None:
            places = torch.isin(self.positions, tokens)
            kept = rows.new_zeros((len(self.positions), rows.shape[1]))
            kept[places] = rows[torch.searchsorted(tokens, self.positions[places])]
        else:
            kept = rows[self.positions]
        gram = kept @ kept.T
        if bool(gram.any()):
            self.found[name] = gram
