"""The Fisher quadratic form of all layers together: `fisher`, and the cross terms between layers from the same pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from sensitivity.cross_terms import refuse_too_many
from sensitivity.memory_forecast import STREAMED_SEQUENCES
from sensitivity.probe_facts import FISHER_INTERACTION, ProbeFacts
from sensitivity.probes.base import AbstractProbe, ProbeRun, Unit, sequence_units, with_silent_sequences
from sensitivity.probes.fisher import UNIT_SEQUENCES
from sensitivity.probes.label_products import batches, label_products, scaled_products, squares_statistics
from sensitivity.statistics import Statistics, summed


@final
@dataclass(frozen=True, slots=True)
class FisherInteraction(AbstractProbe):
    """``fisher`` with what lies between layers: ``½ ΔWᵀ F ΔW`` per token, F the true Fisher matrix of all weights, in nats.

    Between layer l in format k and layer m in format j the matrix has ``E[⟨g_l, ΔW_lk⟩⟨g_m, ΔW_mj⟩]``: how the damage of one is
    made worse, or undone, by the other (Augmented Hessians, arXiv 2306.04879; CLADO, arXiv 2307.05657, which measures each pair
    by a forward pass of its own). The samples of ``fisher`` before they are squared (*score products*) are sufficient for all
    of these: cross terms are ``SᵀS / n``. So S is kept, (sequences × draws) × cells, instead of the pairs, and the loss of any
    assignment with its cross terms is a sum over columns.

    Cells are those of ``fisher`` with as many draws and the same seed, bit for bit: squares of single layers.

    **How sure.** Cells are independent enough for errors to cancel in their sum; the total of an assignment is one number a draw,
    with a standard error of ``√(2 / (sequences × draws))`` of itself: 10 % with 48 sequences and 4 draws. Single pairs have a
    correlation of about ``1 / √(sequences × draws)`` by chance.

    Units: eight sequences. Cost: as ``fisher`` with as many draws. Memory: as ``fisher``, and the products of all samples, which
    are refused past 256 MiB.

    Attributes:
        draws: label draws for each sequence, each a backward pass over the same forward pass.
        arithmetic: as ``fisher``'s.
    """

    facts: ClassVar[ProbeFacts] = FISHER_INTERACTION

    draws: int = 4
    arithmetic: str = "bfloat16"

    def units(self, *, blocks: int, sequences: int) -> list[Unit]:
        """Chunks of eight sequences."""
        return sequence_units(sequences, UNIT_SEQUENCES)

    def streamed_units(self, *, blocks: int, sequences: int) -> list[Unit]:
        """Larger chunks: a unit reads each block twice."""
        return sequence_units(sequences, STREAMED_SEQUENCES)

    def run(self, run: ProbeRun, unit: Unit) -> NDArray[np.float64]:
        """Measure all layers and formats on the unit's sequences.

        Returns:
            Shape (layers, formats, 3 + sequences × draws): statistics, then the score products, all draws of a sequence side by
            side; NaN where the format cannot store the layer.

        Raises:
            CalibrationError: the run has no tokens.
            CorruptCheckpointError: a weight is NaN or infinite.
            TooManyProductsError: the products of all sequences would not fit in memory.
        """
        sequences, length = run.calibration_tokens.shape
        refuse_too_many(layers=len(run.layers), formats=len(run.formats), sequences=sequences, draws=self.draws)
        statistics = run.no_statistics()
        found = np.full((len(run.layers), len(run.formats), len(unit.indices), self.draws), np.nan)
        first = 0
        for batch in batches(run, unit.indices):
            scores = label_products(run, batch, draws=self.draws, arithmetic=self.arithmetic)
            products = scaled_products(scores, length=length)
            statistics += squares_statistics(run, scores, products)
            for index, name in enumerate(run.layers):
                storable = run.storable(name)
                found[index, storable, first : first + len(batch)] = products[:, :, index, storable].transpose(2, 1, 0)
            first += len(batch)
        return np.concatenate((statistics, found.reshape(*statistics.shape[:2], -1)), axis=-1)

    def merge(self, results: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """Statistics added, products side by side in the order of the units."""
        statistics = summed([result[..., :3] for result in results])
        return np.concatenate((statistics, *(result[..., 3:] for result in results)), axis=-1)

    def completed(self, merged: NDArray[np.float64], *, sequences: int) -> Statistics:
        """Count the sequences that sent no token to an expert: each is a sample of zero, if any sequence reached it."""
        return with_silent_sequences(merged[..., :3], sequences)

    def products(self, merged: NDArray[np.float64]) -> NDArray[np.float32]:
        """The score products of the whole run: float32 (layers, formats, sequences, draws)."""
        return merged[..., 3:].reshape(*merged.shape[:2], -1, self.draws).astype(np.float32)
