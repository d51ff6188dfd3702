"""Second moments of a layer's inputs."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class InputMoments:
    """``H = E[x xᵀ]`` over the tokens that reached a layer, in the unquantized model.

    Half the Hessian of the layer's squared output error with respect to a row of its weight (GPTQ, arXiv 2210.17323, eq. 3).

    Attributes:
        hessian: H, float64 of shape (in, in), symmetric; zero where no token came.
        tokens: how many there were.
    """

    hessian: Tensor
    tokens: int

    def importance(self, damping: float) -> Tensor:
        """``diag(H)`` with ``damping`` times its mean added; ones if it is zero throughout. Float64 of shape (in,)."""
        diagonal = self.hessian.diagonal()
        damped = diagonal + damping * diagonal.mean()
        return damped if bool(damped.any()) else torch.ones_like(damped)
