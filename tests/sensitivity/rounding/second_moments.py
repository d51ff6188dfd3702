"""Second moments of made-up inputs, correlated and of very different sizes."""

import torch
from torch import Tensor

from sensitivity.inputs.moments import InputMoments


def correlated_inputs(tokens: int, features: int, *, seed: int = 0) -> Tensor:
    """Float64 (tokens, features): each feature a mixture of a few, scaled by up to a hundred."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(features, features, generator=generator, dtype=torch.float64) / features**0.5
    scales = torch.exp(torch.randn(features, generator=generator, dtype=torch.float64))
    noise = torch.randn(tokens, features, generator=generator, dtype=torch.float64)
    mixed: Tensor = (noise @ mixing + 0.5 * noise) * scales
    return mixed


def moments_of(inputs: Tensor) -> InputMoments:
    exact = inputs.double()
    return InputMoments(exact.T @ exact / len(exact), len(exact))


def output_error(weight: Tensor, rounded: Tensor, moments: InputMoments) -> float:
    """``tr(ΔW H ΔWᵀ)``, float64."""
    error = rounded.double() - weight.double()
    return float(((error @ moments.hessian) * error).sum())
