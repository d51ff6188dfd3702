"""HAWQ's average curvature of every layer, times the squared rounding error of every format."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sensitivity.layer_rounding import LayerRounding
from sensitivity.memory_forecast import STREAMED_SEQUENCES
from sensitivity.next_token import hidden_states, output_head
from sensitivity.probe_facts import HESSIAN_TRACE, ProbeFacts
from sensitivity.probes.base import AbstractProbe, ProbeRun, Unit, sequence_units, with_silent_sequences
from sensitivity.probes.blockwise_backward import backward_by_blocks
from sensitivity.probes.output_signs import output_gradients, packed_signs
from sensitivity.probes.rounding_energies import squared_errors
from sensitivity.probes.score_norms import ScoreNorms
from sensitivity.statistics import Statistics, observe

UNIT_SEQUENCES: Final = 8
"""Sequences of a unit."""

BATCH_TOKENS: Final = 2048
"""Tokens of a forward and backward pass, unless a single sequence is longer."""


@final
@dataclass(frozen=True, slots=True)
class HessianTrace(AbstractProbe):
    """``½ (Tr H / n) ‖ΔW‖²`` per token, H the Hessian of the KL in the layer's n weights, in nats.

    HAWQ-V2 (arXiv 1911.03852) and V3 (arXiv 2011.10680) rank by ``(Tr H / n) ‖ΔW‖²``; with the ½ it is the second order of
    the loss for a ΔW of this norm whose direction is random, and so it is in nats and adds up over layers as ``fisher`` does.
    Unlike ``fisher`` it does not see which directions a ΔW takes: formats of one layer differ by ``‖ΔW‖²`` alone. It
    shares with ``linearity`` (whose slope it is, to second order) where that does not hold: below four bits.

    **Which H.** The next-token loss with the model's own distribution p for labels, which is KL(reference ‖ changed) but for a
    constant. At the reference its Hessian is the Gauss–Newton matrix ``Σ_t J_tᵀ (diag(p_t) − p_t p_tᵀ) J_t`` exactly, J the
    derivative of the logits: the terms with second derivatives of the logits cancel, because the gradient at the logits is zero.
    It is the true Fisher matrix and positive semidefinite. The text's labels, which HAWQ takes, would add an indefinite part.

    **The estimator.** Hutchinson's, with the random signs r at the logits instead of the weights. With
    ``v = √p ⊙ r − p ⟨√p, r⟩``, ``E[v vᵀ] = diag(p) − p pᵀ``, so for ``G = Σ_t J_tᵀ v_t``, one backward pass, ``E‖G‖² = Tr H``:
    products of different positions vanish, because their signs are independent with mean zero. A sample is ``‖G‖² / T`` of a
    sequence of T tokens, never negative. All layers take theirs from the same pass, without terms between layers.
    (Signs at the weights of all layers at once, ``z_lᵀ (H z)_l``, are unbiased too, but cost a second derivative and carry the
    noise of ``z_lᵀ H_lm z_m`` for all other layers m.) The head's trace is a closed form, ``Σ_t ‖h_t‖² (1 − Σ p_t²)`` without
    soft-capping. Draws of one sequence are averaged into one sample, because they share the text. The standard error is over
    sequences; it is of the trace, so that it is common to all formats of a layer.

    **Mixtures.** H is at fixed routing. A sequence that sends no token to an expert is a sample of zero for it. A unit counts
    only the sequences that reached the layer, and ``completed`` counts the others once the whole run is in: an expert that no
    sequence reached keeps count 0.

    Units: eight sequences. Cost: forward + backward to the embeddings, at most ``2·tokens·weights`` operations for the norms,
    and rounding once; more formats cost only their rounding. Memory: the model, the activations of one batch, and the signs of
    one sequence, a bit for each position and entry of the vocabulary. All float32.

    Attributes:
        draws: sign draws for each sequence, each a backward pass over the same forward pass.
    """

    facts: ClassVar[ProbeFacts] = HESSIAN_TRACE

    draws: int = 1

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
        step = max(1, BATCH_TOKENS // run.calibration_tokens.shape[1])
        if run.model.is_streamed:
            step = len(unit.indices)
        LayerRounding.of(run).prepare()
        errors = {layer: squared_errors(run, layer) for layer in run.layers}
        result = run.no_statistics()
        for first in range(0, len(unit.indices), step):
            traces, reached = self.traces(run, unit.indices[first : first + step])
            for index, name in enumerate(run.layers):
                scale = 0.5 / run.model.linears[name].weight.numel() * errors[name]
                with np.errstate(invalid="ignore", over="ignore"):
                    result[index, run.storable(name)] += observe(np.outer(traces[reached[:, index], index], scale))
        return result

    def completed(self, merged: Statistics, *, sequences: int) -> Statistics:
        """Count the sequences that sent no token to an expert: each is a sample of zero, if any sequence reached it."""
        return with_silent_sequences(merged, sequences)

    def traces(self, run: ProbeRun, sequences: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Estimates of ``Tr H`` per token from one batch, and whether the layer saw a token: both (sequences, layers).

        Raises:
            CalibrationError: the run has no tokens.
            ScratchSpaceError: the model is streamed, and its hidden states cannot be written to a temporary file.
        """
        tokens = run.calibration_tokens[list(sequences)]
        head = output_head(run.model.module)
        linears = [run.model.linears[name] for name in run.layers]
        body = [None if linear is head else linear for linear in linears]
        norms, head_traces = (self._blockwise if run.model.is_streamed else self._at_once)(run, sequences, body)
        squares = norms.squares.numpy() / self.draws
        of_head = np.array([linear is head for linear in linears], dtype=bool)
        squares[:, of_head] = head_traces[:, None]
        return squares / tokens.shape[1], norms.reached.numpy() | of_head

    def _at_once(
        self, run: ProbeRun, sequences: tuple[int, ...], body: Sequence[nn.Linear | None]
    ) -> tuple[ScoreNorms, NDArray[np.float64]]:
        """Norms from one graph for all blocks, and the head's traces (sequences,)."""
        tokens = run.calibration_tokens[list(sequences)]
        with ScoreNorms(run.model.module, body, sequences=len(tokens)) as norms, torch.enable_grad():
            hidden = hidden_states(run.model.module, tokens)
            gradients, head_traces = self._at_last_hidden(run, sequences, hidden)
            for draw, gradient in enumerate(gradients):
                torch.autograd.backward(hidden, gradient, retain_graph=draw + 1 < self.draws)
        return norms, head_traces

    def _blockwise(
        self, run: ProbeRun, sequences: tuple[int, ...], body: Sequence[nn.Linear | None]
    ) -> tuple[ScoreNorms, NDArray[np.float64]]:
        """The same of any number of sequences, with the graph of one block in memory."""
        model, tokens = run.model, run.calibration_tokens[list(sequences)]
        blocks = [model.block_of(name) for name in run.layers]
        total = ScoreNorms(model.module, body, sequences=len(tokens))
        head_traces = np.zeros(len(tokens))

        @contextlib.contextmanager
        def watching(block: int, part: slice) -> Iterator[Callable[[int], None]]:
            inside = [linear if own == block else None for linear, own in zip(body, blocks, strict=True)]
            with ScoreNorms(model.module, inside, sequences=part.stop - part.start) as norms:
                yield lambda _: None
            total.squares[part] += norms.squares
            total.reached[part] |= norms.reached

        def at_end(hidden: Tensor, part: slice) -> Tensor:
            gradients, head_traces[part] = self._at_last_hidden(run, sequences[part], hidden)
            return gradients

        first = min((block for block in blocks if block is not None), default=len(model.blocks))
        backward_by_blocks(model, tokens, down_to=first, at_end=at_end, watching=watching)
        return total, head_traces

    def _at_last_hidden(self, run: ProbeRun, sequences: tuple[int, ...], hidden: Tensor) -> tuple[Tensor, NDArray[np.float64]]:
        """Gradients float32 (draws, sequences, length, hidden), and the head's traces (sequences,)."""
        gradients = torch.empty((self.draws, *hidden.shape))
        traces = np.zeros(len(sequences))
        vocabulary = cast("nn.Linear", output_head(run.model.module)).out_features
        for index, (sequence, states) in enumerate(zip(sequences, hidden.detach(), strict=True)):
            signs = packed_signs(seed=run.seed, sequence=sequence, draws=self.draws, length=len(states), vocabulary=vocabulary)
            for found in output_gradients(run.model.module, states, signs):
                gradients[:, index, found.positions] = found.gradients
                traces[index] += found.head_trace
        return gradients, traces
