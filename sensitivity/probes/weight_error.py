"""Relative error of the weights themselves: no data, no forward pass."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from sensitivity.layer_rounding import LayerRounding
from sensitivity.probe_facts import WEIGHT_ERROR, ProbeFacts
from sensitivity.probes.base import AbstractProbe, ProbeRun, Unit, block_units
from sensitivity.statistics import Statistics


@final
@dataclass(frozen=True, slots=True)
class WeightError(AbstractProbe):
    """Relative squared Frobenius error ``t² = ‖ΔW‖² / ‖W‖²``, the distortion of HIGGS (arXiv 2411.17525, eq. 4).

    Without a unit and not additive over layers; a baseline, and one factor of probes that learn the other. Deterministic,
    so a cell is one sample without a standard error. An all-zero matrix that stays all-zero has loss 0.

    Units: a block each, and one for the layers outside the blocks. Cost: rounding.
    """

    facts: ClassVar[ProbeFacts] = WEIGHT_ERROR

    def units(self, *, blocks: int, sequences: int) -> list[Unit]:
        """A unit for each block, and one for the layers outside."""
        return block_units(blocks)

    @torch.no_grad()
    def run(self, run: ProbeRun, unit: Unit) -> Statistics:
        """Measure the layers of the unit's blocks.

        Raises:
            CorruptCheckpointError: a weight is NaN or infinite.
        """
        result = run.no_statistics()
        rounding = LayerRounding.of(run)
        for index, name in (found for block in unit.indices for found in run.layers_of_block(block)):
            weight = run.model.weight(name)
            energy = _energy(weight)
            storable = run.storable(name)
            each = rounding.fake_quantize_each(name, [run.formats[k] for k in storable])
            for k, rounded in zip(storable, each, strict=True):
                error = _energy(rounded.sub_(weight))
                loss = error / energy if error else 0.0
                result[index, k] = 1.0, loss, loss * loss
        return result


def _energy(matrix: torch.Tensor) -> float:
    """Squared Frobenius norm, float64."""
    return float(matrix.double().square().sum())
