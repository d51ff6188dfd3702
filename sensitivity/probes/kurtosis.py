"""Kurtosis of the weights: how heavy the tails are that a format's range must cover."""

from dataclasses import dataclass
from typing import ClassVar, Final, final

import numpy as np
import torch

from sensitivity.formats.any_format import AnyFormat
from sensitivity.probe_facts import KURTOSIS, ProbeFacts
from sensitivity.probes.base import AbstractProbe, ProbeRun, Unit, block_units
from sensitivity.statistics import Statistics, observe

STRIP_ELEMENTS: Final = 1 << 22
"""Weights that are float64 at a time."""


@final
@dataclass(frozen=True, slots=True)
class Kurtosis(AbstractProbe[AnyFormat]):
    """``E[(w − μ)⁴] / σ⁴`` over all weights of the layer: 3 for a normal distribution, 1.8 for a uniform one.

    The numerical vulnerability of NSDS (arXiv 2603.17354). A ranking: large where few weights set the scale of many. Weights that
    are all equal have no kurtosis (``non_finite``). Deterministic, so a cell is one sample without a standard error.

    Units: a block each, and one for the layers outside the blocks. Cost: the weights once, no data.
    """

    facts: ClassVar[ProbeFacts] = KURTOSIS

    def units(self, *, blocks: int, sequences: int) -> list[Unit]:
        """A unit for each block, and one for the layers outside."""
        return block_units(blocks)

    @torch.no_grad()
    def run(self, run: ProbeRun[AnyFormat], unit: Unit) -> Statistics:
        """Measure the layers of the unit's blocks."""
        result = run.no_statistics()
        for index, name in (found for block in unit.indices for found in run.layers_of_block(block)):
            result[index, run.storable(name)] = observe(np.array([kurtosis(run.model.weight(name))]))
        return result


def kurtosis(weight: torch.Tensor) -> float:
    """Fourth central moment ÷ squared variance of a matrix (out, in), in float64; NaN where all elements are equal."""
    strips = torch.split(weight, max(1, STRIP_ELEMENTS // weight.shape[1]))
    count = weight.numel()
    mean = sum(float(strip.double().sum()) for strip in strips) / count
    variance = fourth = 0.0
    for strip in strips:
        squares = strip.double().sub_(mean).square_()
        variance += float(squares.sum()) / count
        fourth += float(squares.square_().sum()) / count
    return fourth / variance**2 if variance > 0 else float("nan")
