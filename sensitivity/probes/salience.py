"""MixLLM's salience of output rows, summed over the rows of a layer."""

import math
from dataclasses import dataclass
from typing import ClassVar, Final, final

import torch
from torch import Tensor, nn

from sensitivity.errors import CalibrationError
from sensitivity.next_token import hidden_states, next_token_logits, positions_at_once
from sensitivity.probe_facts import SALIENCE, ProbeFacts
from sensitivity.probes.base import AbstractProbe, ProbeRun, Unit, sequence_units, with_silent_sequences
from sensitivity.probes.rounding_errors import RoundingErrors
from sensitivity.probes.row_products import RowProducts
from sensitivity.statistics import Statistics, observe

UNIT_SEQUENCES: Final = 8
"""Sequences of a unit."""


@final
@dataclass(frozen=True, slots=True)
class Salience(AbstractProbe):
    """``Σ_o |⟨g_o, δ_o⟩ + ½ ⟨g_o, δ_o⟩²|`` over the output rows o of the layer, δ_o the rounding error of a row.

    MixLLM (arXiv 2412.14590): g is the gradient of a sample's loss, its mean NLL of the text's own next tokens; the second order
    takes the Fisher block of a row from the same gradient. A sample is a sequence; MixLLM sums over them, a cell is the mean.
    Absolute values of rows do not cancel, so the number is no change of any loss, and empirical labels are not the model's own:
    a ranking. MixLLM ranks the rows of all layers; cells are of layers, and rows are not stored one by one.

    **Concentration.** With ``rows`` below 1 only that share of a layer's rows counts, on each sequence the most salient ones. The
    ratio of such a cell to one over all rows says how much a few rows of higher precision could take away: at most, because the
    rows are chosen anew on each sequence.

    **Mixtures.** A sequence that sends no token to an expert is a sample of zero for it. A unit counts only the sequences that
    reached the layer, and ``completed`` counts the others once the whole run is in.

    Units: eight sequences. Cost: forward + backward to the embeddings, and for each layer and sequence one product for the
    gradient and one pass over ΔW. Memory: the model, the activations of one sequence, ΔW of all cells (up to 4 GiB, else
    rounded anew for each sequence).

    Attributes:
        rows: share of the rows that count.
        arithmetic: that ΔW is kept in; passes and products are float32.
    """

    facts: ClassVar[ProbeFacts] = SALIENCE

    rows: float = 1.0
    arithmetic: str = "bfloat16"

    def units(self, *, blocks: int, sequences: int) -> list[Unit]:
        """Chunks of eight sequences."""
        return sequence_units(sequences, UNIT_SEQUENCES)

    def run(self, run: ProbeRun, unit: Unit) -> Statistics:
        """Measure all layers and formats on the unit's sequences.

        Raises:
            CalibrationError: the run has no tokens, or sequences of a single one.
            CorruptCheckpointError: a weight is NaN or infinite.
        """
        if run.calibration_tokens.shape[1] < 2:
            msg = "salience needs sequences of at least two tokens; give the run a calibration set of longer ones"
            raise CalibrationError(msg)
        errors = RoundingErrors.of(run, self.arithmetic)
        result = run.no_statistics()
        for sequence in unit.indices:
            with RowProducts(run, errors) as found, torch.enable_grad():
                tokens = run.calibration_tokens[sequence]
                hidden = hidden_states(run.model.module, tokens[None])
                torch.autograd.backward(hidden, _at_last_hidden(run.model.module, hidden[0].detach(), tokens)[None])
            for index, name in enumerate(run.layers):
                if name in found.products:
                    result[index, run.storable(name)] += observe(self._of_layer(found.products[name])[None].numpy())
        return result

    def completed(self, merged: Statistics, *, sequences: int) -> Statistics:
        """Count the sequences that sent no token to an expert: each is a sample of zero, if any sequence reached it."""
        return with_silent_sequences(merged, sequences)

    def _of_layer(self, products: Tensor) -> Tensor:
        """Salience in each format, float64 (K,), from the products of all rows, (K, out)."""
        rows = (products.double() + 0.5 * products.double().square()).abs()
        counted = math.ceil(self.rows * rows.shape[1])
        return rows.topk(counted, dim=1).values.sum(dim=1)


def _at_last_hidden(module: nn.Module, hidden: Tensor, tokens: Tensor) -> Tensor:
    """Gradient of the mean NLL of all tokens but the first at the last hidden states (length, hidden); zero at the last."""
    following = tokens[1:]
    result = torch.zeros_like(hidden)
    step = positions_at_once(module)
    for first in range(0, len(following), step):
        part = slice(first, min(first + step, len(following)))
        door = hidden[part].requires_grad_()
        loss = nn.functional.cross_entropy(next_token_logits(module, door), following[part], reduction="sum") / len(following)
        (result[part],) = torch.autograd.grad(loss, door)
    return result
