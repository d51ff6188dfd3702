"""KL of next-token distributions from changes of the logits, position by position and tile by tile of the vocabulary."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from sensitivity.next_token import next_token_logits, positions_at_once

TILE: Final = 4096
"""Entries of the vocabulary at a time: their rows of the head stay in cache while all changes go through them."""

NEAR: Final = -0.5
"""Least ``Σ p expm1(d)`` that its ``log1p`` is taken of: close to −1, where ``Σ p d`` was far from zero, digits are lost."""


@dataclass(frozen=True, slots=True)
class LogitChange:
    """A change of the logits before soft-capping, as a product ``states @ matrixᵀ``.

    Changed last hidden states have the head as their matrix, and a changed head has ΔW and the reference's states.

    Attributes:
        states: (length, hidden), in the dtype of the matrix.
        matrix: (vocabulary, hidden).
    """

    states: Tensor
    matrix: Tensor


@torch.no_grad()
def divergences(module: nn.Module, hidden: Tensor, changes: Sequence[LogitChange]) -> Tensor:
    """KL(reference ‖ changed) of the next token over the full vocabulary, summed over positions.

    With p of the reference and d the change of the logits less any constant, ``KL = log Σ p eᵈ − Σ p d``, here as
    ``log1p(Σ p expm1(d)) − Σ p d``. Because d is a product of its own instead of the difference of two rows of logits, and
    the constant is (nearly) ``Σ p d``, rounding changes the KL by a fraction of itself, however small it is. The sum
    over the tiles of the vocabulary and over positions is float64.

    Args:
        module: causal language model.
        hidden: last hidden states of the reference for one sequence, float32 (length, hidden).
        changes: C changes of the logits.

    Returns:
        Float64 (C,), nats; NaN where a change is not finite.
    """
    total = torch.zeros(len(changes), dtype=torch.float64)
    strips = math.ceil(len(hidden) / positions_at_once(module))
    step = math.ceil(len(hidden) / strips)
    for first in range(0, len(hidden) if changes else 0, step):
        part = slice(first, first + step)
        total += _divergences(module, hidden[part], [LogitChange(c.states[part], c.matrix) for c in changes])
    return total


def _divergences(module: nn.Module, hidden: Tensor, changes: Sequence[LogitChange]) -> Tensor:
    reference = _Reference.of(module, hidden)
    centres = reference.centres(changes)
    sums = torch.zeros((2, len(changes), len(hidden)), dtype=torch.float64)
    for tile, probabilities in enumerate(reference.probabilities):
        for index, (change, centre) in enumerate(zip(changes, centres, strict=True)):
            moved = reference.change(change, tile).sub_(centre)
            sums[1, index] += (probabilities * moved).sum(dim=-1)
            sums[0, index] += moved.expm1_().mul_(probabilities).sum(dim=-1)
    found = sums[0].log1p() - sums[1]
    near = (sums[0] > NEAR) & sums[0].isfinite()
    for index in (~near.all(dim=-1)).nonzero()[:, 0].tolist():
        found[index, ~near[index]] = _far_divergences(module, hidden, reference, changes[index], ~near[index])
    return found.sum(dim=-1)


def _far_divergences(
    module: nn.Module, hidden: Tensor, reference: "_Reference", change: LogitChange, positions: Tensor
) -> Tensor:
    moved = torch.cat([reference.change(change, tile)[positions] for tile in range(len(reference.probabilities))], dim=-1)
    return far_divergences(next_token_logits(module, hidden[positions]).double(), moved.double())


def far_divergences(logits: Tensor, moved: Tensor) -> Tensor:
    """KL by log-sum-exp, for changes so large that ``eᵈ`` overflows, or that soft-capping leaves little of them.

    Args:
        logits: of the reference, float64 (positions, vocabulary).
        moved: their change, float64 (positions, vocabulary).

    Returns:
        Float64 (positions,).
    """
    expected = logits.log_softmax(dim=-1)
    return (expected + moved).logsumexp(dim=-1) - (expected.exp() * moved).sum(dim=-1)


@dataclass(frozen=True, slots=True)
class _Reference:
    """The reference at some positions.

    Attributes:
        probabilities: tiles of (positions, vocabulary), each contiguous.
        capped: tiles of logits ÷ cap, for logits that are soft-capped; else empty.
        cap: the soft cap, or ``None``.
    """

    probabilities: list[Tensor]
    capped: list[Tensor]
    cap: float | None

    @classmethod
    def of(cls, module: nn.Module, hidden: Tensor) -> "_Reference":
        logits = next_token_logits(module, hidden)
        cap = getattr(module.config, "final_logit_softcapping", None)
        capped = [] if cap is None else [tile / cap for tile in torch.split(logits, TILE, dim=-1)]
        probabilities = [tile.contiguous() for tile in torch.split(logits.softmax(dim=-1), TILE, dim=-1)]
        return cls(probabilities, capped, cap)

    def change(self, change: LogitChange, tile: int) -> Tensor:
        """Change of the logits in a tile, float32 (positions, up to TILE).

        Soft-capped, with ``t = tanh(z/cap)`` of the reference and ``s = tanh(d/cap)``: ``cap·s·(1 − t²)/(1 + t·s)``.
        """
        moved = linear(change.states, change.matrix[tile * TILE : (tile + 1) * TILE]).float()
        if self.cap is None:
            return moved
        t, s = self.capped[tile], moved.div_(self.cap).tanh_()
        return (1.0 - t * t).mul_(s).div_((t * s).add_(1.0)).mul_(self.cap)

    def centres(self, changes: Sequence[LogitChange]) -> list[Tensor]:
        """``Σ p d`` of each change to first order, (positions, 1), through ``p @ matrix``."""
        known: dict[int, Tensor] = {}
        for change in changes:
            if id(change.matrix) not in known:
                known[id(change.matrix)] = self._mean_rows(change.matrix)
        return [(change.states.float() * known[id(change.matrix)]).sum(dim=-1, keepdim=True) for change in changes]

    def _mean_rows(self, matrix: Tensor) -> Tensor:
        weights = self.probabilities
        if self.cap is not None:
            weights = [p * (1.0 - t * t) for p, t in zip(self.probabilities, self.capped, strict=True)]
        tiles = zip(weights, torch.split(matrix, TILE), strict=True)
        return sum((weight.to(matrix.dtype) @ rows for weight, rows in tiles), torch.zeros(())).float()
