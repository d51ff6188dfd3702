"""LieQ's second diagnostic: how few directions a layer's outputs use, beside those of a random layer."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from sensitivity.formats.any_format import AnyFormat
from sensitivity.probe_facts import COMPACTNESS, ProbeFacts
from sensitivity.probes.base import AbstractProbe, ProbeRun, Unit, block_units
from sensitivity.probes.spectra import spectrum_gains
from sensitivity.statistics import Statistics


@final
@dataclass(frozen=True, slots=True)
class Compactness(AbstractProbe[AnyFormat]):
    """``exp(−H(p))`` of the layer's outputs − that of a random layer's, p the spectrum of the outputs and H its entropy.

    The representational compactness of LieQ (arXiv 2508.03332): 1 ÷ effective rank. Our reading, where the paper leaves it open:
    outputs are centred and their rows scaled to length 1; the random model of the paper is here a random weight on the trained
    layer's own inputs, so that the gain is this layer's; the number is given for every linear layer, and LieQ's score of a
    block is the mean of its q, k and v. Between −1 and 1; a ranking. It depends on the length of the sequences: compare
    numbers of one calibration set.

    Units: a block each. Cost: one forward pass, a product with a random weight, and for each layer and sequence the
    eigenvalues of two matrices of as many rows as the sequence has tokens (or the layer outputs, if fewer). Memory: random
    weights of the size of a block beside the walk.
    """

    facts: ClassVar[ProbeFacts] = COMPACTNESS

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
        return spectrum_gains(run, block, compactness)


def compactness(shares: Tensor) -> float:
    """``exp(Σ p ln p)`` of shares p, float64 of sum 1: one over the effective rank."""
    return float(torch.special.xlogy(shares, shares).sum().exp())
