"""KL between the unquantized model and a quantized one, its gradient in the quantized weights, and drawn labels' scores there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from sensitivity.evaluation import replaced_weights
from sensitivity.next_token import hidden_states, next_token_logits, output_head, positions_at_once, soft_capped
from sensitivity.probes.base import ProbeRun
from sensitivity.probes.label_scores import draw_labels, uniforms
from sensitivity.probes.rounding_errors import RoundingErrors
from sensitivity.probes.score_products import ScoreProducts


@dataclass(frozen=True, slots=True)
class PointProducts:
    """Inner products of gradients at a quantized model with the rounding errors ΔW of unquantized weights, by sequence.

    Attributes:
        kl: KL(reference ‖ quantized) of the next token, nats per token, float64 (sequences,).
        slopes: ``⟨∇_W KL, ΔW⟩``, nats per token, float64 (sequences, layers, formats).
        scores: ``⟨Σ_t ∇_W log q(y_t | x_≤t), ΔW⟩ / √T`` of labels y drawn from the quantized model, float64
            (draws, sequences, layers, formats).
        reached: whether the layer saw a token of the sequence, bool (sequences, layers).
    """

    kl: Tensor
    slopes: Tensor
    scores: Tensor
    reached: Tensor


def point_products(
    run: ProbeRun,
    sequences: tuple[int, ...],
    weights: Mapping[nn.Linear, Tensor],
    *,
    draws: int,
    arithmetic: str,
    reference: Tensor | None = None,
) -> PointProducts:
    """One batch: a forward pass of either model, a backward pass for the KL, and one for each draw of labels.

    Args:
        run: layers, formats, tokens and seed; its model is the reference, and the same bits afterwards.
        sequences: indices in the calibration set.
        weights: the quantized model: other weights for some linears.
        draws: label draws for each sequence; none for slopes alone.
        arithmetic: of the scores and the inner products; the passes are float32.
        reference: ``reference_states`` of the sequences, for who compares several quantized models with them.

    Raises:
        CalibrationError: the run has no tokens.
        CorruptCheckpointError: a weight is NaN or infinite.
    """
    tokens = run.calibration_tokens[list(sequences)]
    module, length = run.model.module, tokens.shape[1]
    uniform = uniforms(seed=run.seed, sequences=sequences, draws=draws, length=length)
    errors = RoundingErrors.of(run, arithmetic)
    for name in run.layers:
        errors.stack(name)
    head = cast("nn.Linear", output_head(module)).weight.data
    if reference is None:
        reference = reference_states(run, sequences)
    with replaced_weights(weights), ScoreProducts(run, errors, sequences=len(tokens), draws=1 + draws) as products:
        with torch.enable_grad():
            hidden = hidden_states(module, tokens)
        comparison = _Comparison(module, head, products)
        kl, gradients = torch.zeros(len(tokens), dtype=torch.float64), torch.empty((1 + draws, *hidden.shape))
        for index, states in enumerate(hidden.detach()):
            products.alone = index
            kl[index], gradients[:, index] = comparison.of(states, reference[index], uniform[:, index])
        products.alone = None
        for which, gradient in enumerate(gradients):
            products.draw = which
            torch.autograd.backward(hidden, gradient, retain_graph=which < draws)
    return PointProducts(
        kl=kl / length,
        slopes=products.products[0] / length,
        scores=products.products[1:] / length**0.5,
        reached=products.reached,
    )


@torch.no_grad()
def reference_states(run: ProbeRun, sequences: tuple[int, ...]) -> Tensor:
    """Last hidden states of the run's own model, float32 (sequences, length, hidden)."""
    return hidden_states(run.model.module, run.calibration_tokens[list(sequences)])


@dataclass(frozen=True, slots=True)
class _Comparison:
    """The reference and the quantized model at their heads.

    Attributes:
        module: the quantized model.
        head: weight of the reference's head.
        products: told which backward pass the head is run for.
    """

    module: nn.Module
    head: Tensor
    products: ScoreProducts

    def of(self, states: Tensor, reference: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """KL of one sequence, summed over positions, and gradients (1 + draws, length, hidden) at its last hidden states."""
        total = torch.zeros((), dtype=torch.float64)
        gradients = torch.empty((1 + len(uniform), *states.shape))
        step = positions_at_once(self.module)
        for first in range(0, len(states), step):
            part = slice(first, min(first + step, len(states)))
            found, gradients[:, part] = self._part(states[part], reference[part], uniform[:, part])
            total += found
        return total, gradients

    def _part(self, states: Tensor, reference: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            door = states.detach().requires_grad_()
            logits = next_token_logits(self.module, door)
        with torch.no_grad():
            expected = self._reference_logits(reference).log_softmax(dim=-1)
            found = logits.log_softmax(dim=-1)
            probabilities, quantized = expected.exp(), found.exp()
            divergence = (probabilities * expected.sub_(found)).sum(dim=-1).double().sum()
            labels = draw_labels(quantized, uniform)
            slope = quantized - probabilities
        gradients = [self._gradient(0, logits, door, slope, last=not len(labels))]
        rows = torch.arange(len(states))
        negative = quantized.neg_()
        for draw, label in enumerate(labels):
            before = negative[rows, label]
            negative[rows, label] = before + 1.0
            gradients.append(self._gradient(1 + draw, logits, door, negative, last=draw + 1 == len(labels)))
            negative[rows, label] = before
        return divergence, torch.stack(gradients)

    def _gradient(self, which: int, logits: Tensor, door: Tensor, at_logits: Tensor, *, last: bool) -> Tensor:
        self.products.draw = which
        found: Tensor = torch.autograd.grad(logits, door, at_logits, retain_graph=not last)[0]
        return found

    def _reference_logits(self, states: Tensor) -> Tensor:
        """Not through the head's module: that is watched, and has the quantized weight."""
        return soft_capped(self.module, linear(states, self.head, getattr(output_head(self.module), "bias", None)))
