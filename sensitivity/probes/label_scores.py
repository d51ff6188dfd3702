"""Labels drawn from the model's own predictions, and the gradient of their log-probability at the last hidden states."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from sensitivity.next_token import next_token_logits, positions_at_once


def uniforms(*, seed: int, sequences: tuple[int, ...], draws: int, length: int) -> Tensor:
    """Uniform numbers that labels are drawn with: float32 (draws, sequences, length).

    Every sequence has a generator of its own, seeded by the run's seed and its index in the calibration set, so the labels
    depend neither on the machine nor on how sequences are grouped into units.
    """
    streams = [np.random.default_rng((seed % (1 << 64), index)).random((draws, length), dtype=np.float32) for index in sequences]
    return torch.from_numpy(np.stack(streams, axis=1))


def label_scores(
    module: nn.Module, hidden: Tensor, uniform: Tensor, *, starting: Callable[[int], None]
) -> Iterator[tuple[slice, Tensor]]:
    """``∂ log p(y_t | x) / ∂h_t`` at the last hidden states, with labels ``y_t`` drawn from ``p(· | x)`` at every position.

    A few hundred positions of one sequence pass the head at once; the gradient at the logits, ``onehot(y) − p``, is made in
    the place of the probabilities.

    Args:
        module: causal language model.
        hidden: last hidden states of one sequence, (length, hidden).
        uniform: numbers to draw with, (draws, length).
        starting: called with the draw before each backward step through the head.

    Yields:
        Positions, and float32 gradients (draws, positions, hidden).
    """
    step = positions_at_once(module)
    for first in range(0, len(hidden), step):
        part = slice(first, min(first + step, len(hidden)))
        yield part, _scores(module, hidden[part], uniform[:, part], starting)


def _scores(module: nn.Module, hidden: Tensor, uniform: Tensor, starting: Callable[[int], None]) -> Tensor:
    with torch.enable_grad():
        door = hidden.detach().requires_grad_()
        logits = next_token_logits(module, door)
    with torch.no_grad():
        probabilities = logits.softmax(dim=-1)
        labels = draw_labels(probabilities, uniform)
        rows = torch.arange(len(hidden))
        negative = probabilities.neg_()
        found: list[Tensor] = []
        for draw, label in enumerate(labels):
            starting(draw)
            before = negative[rows, label]
            negative[rows, label] = before + 1.0
            found += torch.autograd.grad(logits, door, negative, retain_graph=draw + 1 < len(labels))
            negative[rows, label] = before
    return torch.stack(found)


def draw_labels(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Draw by inversion of the distribution function.

    Args:
        probabilities: (positions, vocabulary); rows need not sum to exactly one.
        uniform: numbers in [0, 1), (draws, positions).

    Returns:
        int64 (draws, positions).
    """
    distribution = probabilities.cumsum(dim=-1)
    targets = (uniform.T * distribution[:, -1:]).contiguous()
    labels = torch.searchsorted(distribution, targets, right=True)
    return labels.clamp_(max=probabilities.shape[-1] - 1).T.contiguous()
