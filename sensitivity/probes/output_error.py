"""Relative error of a layer's outputs on the calibration text."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensitivity.next_token import output_head
from sensitivity.probe_facts import OUTPUT_ERROR, ProbeFacts
from sensitivity.probes.base import AbstractProbe, ProbeRun, Unit, block_units
from sensitivity.probes.block_walk import BlockWalk
from sensitivity.probes.output_energies import OutputEnergies
from sensitivity.statistics import Statistics, observe


@final
@dataclass(frozen=True, slots=True)
class OutputError(AbstractProbe):
    """``tr(ΔW H ΔWᵀ) / tr(W H Wᵀ)`` with ``H = E[x xᵀ]`` of the layer's inputs, those of the unquantized model.

    What GPTQ (arXiv 2210.17323) and BAQ (arXiv 2506.05664) minimise, relative to the layer's output. Without a unit and not
    additive over layers: a layer whose output hardly matters to the next token weighs as much as any other. An expert is
    measured on the tokens that reach it.

    **Standard error.** With ``a_s`` and ``b_s`` the numerator and denominator of sequence s, the loss is the ratio
    ``R = Σ a_s / Σ b_s``. The samples that are stored are ``R + (a_s − R b_s) / b̄``: their mean is R exactly, and their
    spread is that of the linearised ratio (Cochran, Sampling Techniques, §2.11). Sequences that do not reach a layer are no
    samples.

    Units: a block each, and one for the layers outside the blocks. Cost: one forward pass over all units together, rounding,
    and the products of ``OutputEnergies``.

    Attributes:
        arithmetic: of the products that follow the float32 forward pass; ``bfloat16`` (accumulated in float32) changes a
            cell by about 0.1 %.
    """

    facts: ClassVar[ProbeFacts] = OUTPUT_ERROR

    arithmetic: str = "bfloat16"

    def units(self, *, blocks: int, sequences: int) -> list[Unit]:
        """A unit for each block, and one for the layers outside."""
        return block_units(blocks)

    @torch.no_grad()
    def run(self, run: ProbeRun, unit: Unit) -> Statistics:
        """Measure the layers of the unit's blocks.

        Raises:
            CalibrationError: the run has no tokens.
            CorruptCheckpointError: a weight is NaN or infinite.
        """
        result = run.no_statistics()
        for block in unit.indices:
            layers = run.layers_of_block(block)
            if layers:
                self._measure(run, block, layers, result)
        return result

    def _measure(self, run: ProbeRun, block: int, layers: list[tuple[int, str]], result: Statistics) -> None:
        energies = OutputEnergies(run, layers, self.arithmetic)
        if block < len(run.model.blocks):
            BlockWalk.of(run).cross(block, energies.watching)
        else:
            _outside_blocks(run, energies)
        for position, (index, name) in enumerate(layers):
            reached = energies.reached[:, position].numpy()
            found = energies.energies[:, position].numpy()[reached]
            for k in run.storable(name):
                result[index, k] = ratio_statistics(found[:, 1 + k], found[:, 0])


def _outside_blocks(run: ProbeRun, energies: OutputEnergies) -> None:
    """Layers outside the blocks: the head takes the last hidden states without being run."""
    head = output_head(run.model.module)

    def receive(hidden: Tensor, batch: slice) -> None:
        for _, name in energies.layers:
            if run.model.linears[name] is head:
                energies.observe(name, hidden, batch)

    BlockWalk.of(run).leave(energies.watching, receive)


def ratio_statistics(numerators: NDArray[np.float64], denominators: NDArray[np.float64]) -> Statistics:
    """Statistics (3,) of the ratio of sums, a sample a sequence; no change of the output is a ratio of 0, whatever the output.

    Args:
        numerators: float64 (sequences,).
        denominators: float64 (sequences,).
    """
    if len(numerators) == 0:
        return np.zeros(3)
    if not numerators.any():
        return observe(numerators)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = numerators.sum() / denominators.sum()
        return observe(ratio + (numerators - ratio * denominators) / denominators.mean())
