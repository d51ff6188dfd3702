"""Second moments of a layer's inputs, and their sums over batches."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from sensitivity.errors import NonFiniteError

STRIP: Final = 192
"""Columns of a strip of a symmetric matrix: from its diagonal on to the right. What lies below is not computed."""


@dataclass(frozen=True, slots=True, eq=False)
class InputMoments:
    """``H = E[x xᵀ]`` over the tokens that reached a layer, in the unquantized model.

    Half the Hessian of the layer's squared output error with respect to a row of its weight (GPTQ, arXiv 2210.17323, §3).

    Attributes:
        hessian: H, float64 of shape (in, in), symmetric; zero where no token came.
        tokens: how many there were.
    """

    hessian: Tensor
    tokens: int


class MomentSums:
    """Sums of ``x xᵀ`` for several layers, batch by batch: float32 products, float64 sums.

    Layers that are given the same tensor one after the other (q, k and v) share its product.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._tokens: dict[str, int] = {}
        self._last: tuple[Tensor, list[Tensor]] | None = None

    @torch.no_grad()
    def add(self, layer: str, inputs: Tensor) -> None:
        """Add inputs of shape (…, in) of a layer."""
        if self._last is None or self._last[0] is not inputs:
            self._last = inputs, _upper_strips(inputs.reshape(-1, inputs.shape[-1]))
        features = inputs.shape[-1]
        if layer not in self._sums:
            self._sums[layer] = torch.zeros((features, features), dtype=torch.float64)
            self._tokens[layer] = 0
        for index, strip in enumerate(self._last[1]):
            first = index * STRIP
            self._sums[layer][first : first + STRIP, first:] += strip
        self._tokens[layer] += inputs.numel() // features

    def moments(self) -> dict[str, InputMoments]:
        """Of each layer that saw a token; those that saw the same share one object. The sums are given up.

        Raises:
            NonFiniteError: a layer's inputs are NaN or infinite, or too large for their squares.
        """
        found: list[InputMoments] = []
        result = {}
        for layer in list(self._sums):
            upper, tokens = self._sums.pop(layer).triu_(), self._tokens.pop(layer)
            hessian = upper.add_(upper.triu(1).T).div_(tokens)
            if not bool(hessian.sum().isfinite()):
                msg = f"inputs of {layer} are NaN, infinite or too large on the calibration text; round with rtn or rtn_clip"
                raise NonFiniteError(msg)
            same = next((known for known in found if torch.equal(known.hessian, hessian)), None)
            result[layer] = same or InputMoments(hessian, tokens)
            if same is None:
                found.append(result[layer])
        self._last = None
        return result


def no_moments(features: int) -> InputMoments:
    """Of a layer that no token reached."""
    return InputMoments(torch.zeros((features, features), dtype=torch.float64), 0)


def _upper_strips(rows: Tensor) -> list[Tensor]:
    """``XᵀX`` on and right of the diagonal, by strips of its rows; X of shape (tokens, in)."""
    return [rows[:, first : first + STRIP].T @ rows[:, first:] for first in range(0, rows.shape[1], STRIP)]
