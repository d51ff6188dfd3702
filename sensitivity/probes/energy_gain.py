"""LieQ's third diagnostic: how much of a layer's output lies in its first directions, beside a random layer's."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from sensitivity.formats.any_format import AnyFormat
from sensitivity.probe_facts import ENERGY_GAIN, ProbeFacts
from sensitivity.probes.base import AbstractProbe, ProbeRun, Unit, block_units
from sensitivity.probes.spectra import spectrum_gains
from sensitivity.statistics import Statistics


@final
@dataclass(frozen=True, slots=True)
class EnergyGain(AbstractProbe[AnyFormat]):
    """Share of the ``directions`` greatest eigenvalues of the layer's outputs − that of a random layer's outputs.

    The top-k energy gain of LieQ (arXiv 2508.03332), with the outputs, the random layer and the blocks' scores as in
    ``compactness``. The paper's k is not known to us; ours is a hyper-parameter. Between −1 and 1; a ranking.

    Units and cost are those of ``compactness``.

    Attributes:
        directions: k.
    """

    facts: ClassVar[ProbeFacts] = ENERGY_GAIN

    directions: int = 8

    def units(self, *, blocks: int, sequences: int) -> list[Unit]:
        """A unit for each block."""
        return block_units(blocks)[:-1]

    @torch.no_grad()
    def run(self, run: ProbeRun[AnyFormat], unit: Unit) -> Statistics:
        """Measure the layers of one block.

        Raises:
            CalibrationError: the run has no tokens.
        """
        (block,) = unit.indices
        return spectrum_gains(run, block, lambda shares: float(shares[: self.directions].sum()))
