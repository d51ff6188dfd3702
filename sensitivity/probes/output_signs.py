"""Random signs at the logits, and what they become at the last hidden states: Hutchinson's vectors in the output space."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sensitivity.next_token import next_token_logits, positions_at_once


def packed_signs(*, seed: int, sequence: int, draws: int, length: int, vocabulary: int) -> NDArray[np.uint8]:
    """Random bits of one sequence, eight a byte: (draws, length, ⌈vocabulary / 8⌉).

    Every sequence has a generator of its own, seeded by the run's seed and its index in the calibration set, so its bits depend
    neither on the machine nor on how sequences are grouped; more draws come behind the first.
    """
    generator = np.random.default_rng((seed % (1 << 64), sequence))
    return generator.integers(0, 256, (draws, length, -(-vocabulary // 8)), dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class OutputGradients:
    """What some positions' random signs give.

    Attributes:
        positions: which.
        gradients: at the last hidden states, float32 (draws, positions, hidden).
        head_trace: ``‖h‖² Tr Λ`` summed over the positions, with Λ the Hessian at the logits before soft-capping: the trace of
            the head's own Hessian, exactly.
    """

    positions: slice
    gradients: Tensor
    head_trace: float


def output_gradients(module: nn.Module, hidden: Tensor, packed: NDArray[np.uint8]) -> Iterator[OutputGradients]:
    """``∂⟨v, logits⟩/∂h`` for ``v = √p ⊙ r − p ⟨√p, r⟩`` with random signs r, a few hundred positions at a time.

    The KL's Hessian at the logits is ``diag(p) − p pᵀ``, and ``E[v vᵀ]`` is that matrix.

    Args:
        module: causal language model.
        hidden: last hidden states of one sequence, (length, hidden).
        packed: its signs.
    """
    step = positions_at_once(module)
    for first in range(0, len(hidden), step):
        part = slice(first, min(first + step, len(hidden)))
        yield _gradients(module, hidden[part], packed[:, part], part)


def _gradients(module: nn.Module, hidden: Tensor, packed: NDArray[np.uint8], part: slice) -> OutputGradients:
    with torch.enable_grad():
        door = hidden.detach().requires_grad_()
        logits = next_token_logits(module, door)
    with torch.no_grad():
        probabilities = logits.softmax(dim=-1)
        roots = probabilities.sqrt()
        found: list[Tensor] = []
        for draw, bits in enumerate(packed):
            vector = _signed(roots, bits)
            vector -= probabilities * vector.sum(dim=-1, keepdim=True)
            found += torch.autograd.grad(logits, door, vector, retain_graph=draw + 1 < len(packed))
        trace = _head_trace(module, hidden, logits, probabilities)
    return OutputGradients(part, torch.stack(found), trace)


def _signed(roots: Tensor, bits: NDArray[np.uint8]) -> Tensor:
    """A copy of the roots with random signs."""
    ones = torch.from_numpy(np.unpackbits(bits, axis=-1, count=roots.shape[-1]))
    return torch.where(ones.bool(), roots, -roots)


def _head_trace(module: nn.Module, hidden: Tensor, logits: Tensor, probabilities: Tensor) -> float:
    """A cap passes ``1 − (logit / cap)²`` of a logit's change."""
    cap = getattr(module.config, "final_logit_softcapping", None)
    diagonal = probabilities * (1.0 - probabilities)
    if cap is not None:
        diagonal *= (1.0 - (logits / cap).square()).square()
    return float((hidden.square().sum(dim=-1).double() * diagonal.sum(dim=-1).double()).sum())
