"""The diagonal-block Fisher quadratic form of every layer and format, from labels sampled from the model."""

from dataclasses import dataclass
from typing import ClassVar, Final, final

from sensitivity.memory_forecast import STREAMED_SEQUENCES
from sensitivity.probe_facts import FISHER, ProbeFacts
from sensitivity.probes.base import AbstractProbe, ProbeRun, Unit, sequence_units, with_silent_sequences
from sensitivity.probes.label_products import batches, label_products, scaled_products, squares_statistics
from sensitivity.statistics import Statistics

UNIT_SEQUENCES: Final = 8
"""Sequences of a unit."""


@final
@dataclass(frozen=True, slots=True)
class Fisher(AbstractProbe):
    """Second-order KL of a layer in a format: ``½ ΔWᵀ F ΔW`` per token, F the true Fisher block of the layer, in nats.

    To second order in ΔW, KL(reference ‖ quantized) of the next token is ``½ E[⟨∇_W log p(y | x), ΔW⟩²]`` with y from the
    model itself, not from the text (Kunstner et al., arXiv 1905.12558, on what the empirical Fisher gets wrong). Losses of
    different layers add up to the loss of a plan as far as cross terms and higher orders are small.

    **The estimator.** For a sequence of T tokens draw y_t ~ p(· | x_≤t) at every position and let
    ``G = Σ_t ∇_W log p(y_t | x_≤t)``, one backward pass. The sample is ``½ ⟨G, ΔW⟩² / T``. It is unbiased for the mean over
    positions of ``½ E⟨g_t, ΔW⟩²``: given the text x, the labels are independent of each other and are not fed back, so the scores
    ``g_t`` are independent, each with mean zero (``Σ_y p ∇ log p = ∇ Σ_y p = 0``); the products of different positions vanish in
    expectation and ``E⟨G, ΔW⟩² = Σ_t E⟨g_t, ΔW⟩²``. A sample is close to a χ² with one degree of freedom: its relative spread
    is about √2, the standard error of a cell about √(2 / (sequences × draws)) of it. Draws of one sequence are averaged into
    one sample, because they share the text.

    **Mixtures.** A sequence that sends no token to an expert is a sample of zero for it. A unit counts only the sequences that
    reached the layer, and ``completed`` counts the others once the whole run is in: an expert that no sequence reached keeps
    count 0.

    Units: eight sequences. Cost: forward + backward to the embeddings, ``2·tokens·weights`` operations for the scores (what the
    weight gradients of a plain backward pass cost), one read of all ΔW for each batch, and rounding once.
    Memory: the model, the activations of one batch, ΔW of all cells (up to 4 GiB, else rounded anew for each batch).

    Attributes:
        draws: label draws for each sequence, each a backward pass over the same forward pass.
        arithmetic: of the scores and the inner products; forward and backward passes are float32. ``bfloat16`` (accumulated in
            float32) changes a cell by about 0.3 % and halves the time of this part where the processor has it.
    """

    facts: ClassVar[ProbeFacts] = FISHER

    draws: int = 1
    arithmetic: str = "bfloat16"

    def units(self, *, blocks: int, sequences: int) -> list[Unit]:
        """Chunks of eight sequences."""
        return sequence_units(sequences, UNIT_SEQUENCES)

    def streamed_units(self, *, blocks: int, sequences: int) -> list[Unit]:
        """Larger chunks: a unit reads each block twice."""
        return sequence_units(sequences, STREAMED_SEQUENCES)

    def run(self, run: ProbeRun, unit: Unit) -> Statistics:
        """Measure all layers and formats on the unit's sequences.

        Raises:
            CalibrationError: the run has no tokens.
            CorruptCheckpointError: a weight is NaN or infinite.
        """
        length = run.calibration_tokens.shape[1]
        result = run.no_statistics()
        for batch in batches(run, unit.indices):
            scores = label_products(run, batch, draws=self.draws, arithmetic=self.arithmetic)
            result += squares_statistics(run, scores, scaled_products(scores, length=length))
        return result

    def completed(self, merged: Statistics, *, sequences: int) -> Statistics:
        """Count the sequences that sent no token to an expert: each is a sample of zero, if any sequence reached it."""
        return with_silent_sequences(merged, sequences)
