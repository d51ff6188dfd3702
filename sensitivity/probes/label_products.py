"""Score products of labels drawn from the model: the passes that `fisher` and `fisher_interaction` have in common."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from sensitivity.next_token import hidden_states
from sensitivity.probes.base import ProbeRun, sample_statistics
from sensitivity.probes.blockwise_products import blockwise_label_products
from sensitivity.probes.label_gradients import label_gradients
from sensitivity.probes.label_scores import uniforms
from sensitivity.probes.rounding_errors import RoundingErrors
from sensitivity.probes.score_products import ScoreProducts
from sensitivity.statistics import Statistics

BATCH_TOKENS: Final = 2048
"""Tokens of a forward and backward pass, unless a single sequence is longer."""


def batches(run: ProbeRun, sequences: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The sequences in their order, as many at once as pass the model together: all of them if its blocks are streamed.

    Raises:
        CalibrationError: the run has no tokens.
    """
    if run.model.is_streamed:
        yield sequences
        return
    step = max(1, BATCH_TOKENS // run.calibration_tokens.shape[1])
    for first in range(0, len(sequences), step):
        yield sequences[first : first + step]


def label_products(run: ProbeRun, sequences: tuple[int, ...], *, draws: int, arithmetic: str) -> ScoreProducts:
    """``⟨Σ_t ∇_W log p(y_t | x_≤t), ΔW⟩`` of one batch: one forward pass, and a backward pass for each draw of labels.

    Args:
        run: layers, formats, tokens and seed.
        sequences: indices in the calibration set.
        draws: label draws for each sequence.
        arithmetic: of the scores and the inner products; the passes are float32.

    Raises:
        CalibrationError: the run has no tokens.
        CorruptCheckpointError: a weight is NaN or infinite.
        ScratchSpaceError: the model is streamed, and its hidden states cannot be written to a temporary file.
    """
    if run.model.is_streamed:
        return blockwise_label_products(run, sequences, draws=draws, arithmetic=arithmetic)
    tokens = run.calibration_tokens[list(sequences)]
    uniform = uniforms(seed=run.seed, sequences=sequences, draws=draws, length=tokens.shape[1])
    errors = RoundingErrors.of(run, arithmetic)
    with ScoreProducts(run, errors, sequences=len(tokens), draws=draws) as scores, torch.enable_grad():
        hidden = hidden_states(run.model.module, tokens)
        gradients = label_gradients(run, hidden, uniform, scores)
        for draw, gradient in enumerate(gradients):
            scores.draw = draw
            torch.autograd.backward(hidden, gradient, retain_graph=draw + 1 < draws)
    return scores


def scaled_products(scores: ScoreProducts, *, length: int) -> NDArray[np.float64]:
    """``⟨G, ΔW⟩ / √(2T)``, T tokens a sequence: its square is in nats per token. Float64 (draws, sequences, layers, formats)."""
    products: NDArray[np.float64] = (scores.products / (2.0 * length) ** 0.5).numpy()
    return products


def squares_statistics(run: ProbeRun, scores: ScoreProducts, products: NDArray[np.float64]) -> Statistics:
    """Statistics of the squared products: a sample is the mean over the draws of a sequence that reached the layer.

    Args:
        run: layers and formats.
        scores: which sequences reached which layer.
        products: scaled, float64 (draws, sequences, layers, formats).
    """
    samples = np.square(products).mean(axis=0)
    return sample_statistics(run, samples, np.broadcast_to(scores.reached.numpy()[..., None], samples.shape))
