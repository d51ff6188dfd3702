"""Squared norms of weights and of their rounding errors: all that some probes need to know of a format."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensitivity.layer_rounding import LayerRounding
from sensitivity.probes.base import ProbeRun


def squared_norm(matrix: Tensor) -> float:
    """``‖M‖²`` in the Frobenius norm, summed in float64."""
    return float(matrix.double().square().sum())


@torch.no_grad()
def squared_errors(run: ProbeRun, layer: str) -> NDArray[np.float64]:
    """``‖ΔW‖²`` of a layer, rounded once a run.

    A rounding method with data runs the model; ask before anything watches it.

    Returns:
        Float64 (K,) for the K formats that can store the layer, in their order.

    Raises:
        CorruptCheckpointError: a weight is NaN or infinite.
    """
    known: dict[str, NDArray[np.float64]] = run.cache.setdefault("squared errors", {})
    if layer not in known:
        rounding, weight = LayerRounding.of(run), run.model.weight(layer)
        formats = [run.formats[k] for k in run.storable(layer)]
        known[layer] = np.array([squared_norm(found.sub_(weight)) for found in rounding.fake_quantize_each(layer, formats)])
    return known[layer]


def relative_errors(run: ProbeRun, layer: str) -> NDArray[np.float64]:
    """``t² = ‖ΔW‖² / ‖W‖²`` of a layer, zero where nothing changes. Shape and errors are those of ``squared_errors``."""
    errors = squared_errors(run, layer)
    energy = squared_norm(run.model.weight(layer))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(errors == 0, 0.0, errors / energy)
