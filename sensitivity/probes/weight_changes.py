"""Cells that are measured by running the model with one layer in other weights: what is to be run, and what came out."""

from collections.abc import Collection, Mapping, Sequence

from torch import nn

from sensitivity.probes.base import ProbeRun
from sensitivity.probes.lockstep import Change
from sensitivity.probes.rounding_errors import RoundingErrors
from sensitivity.statistics import Statistics

Cell = tuple[int, int]
"""Indices of layer and format."""


def weight_changes(run: ProbeRun, layers: Sequence[tuple[int, str]], arithmetic: str) -> dict[Cell, Change]:
    """What is to be run: cells whose format can store the layer and changes it.

    Args:
        run: whose formats and rounding.
        layers: index and name of each layer.
        arithmetic: of the products with ΔW, ``bfloat16`` or ``float32``.
    """
    errors = RoundingErrors.of(run, arithmetic)
    cells: dict[Cell, Change] = {}
    for index, name in layers:
        changed = ((k, error) for k, error in zip(run.storable(name), errors.stack(name), strict=True) if error.any())
        cells.update({(index, k): Change(run.model.linears[name], error) for k, error in changed})
    return cells


def sequence_statistics(
    run: ProbeRun, layers: Sequence[tuple[int, str]], reached: Collection[nn.Linear], samples: Mapping[Cell, float]
) -> Statistics:
    """Statistics of one sequence, (layers, formats, 3): cells whose ΔW is zero have no sample of their own, they are zero.

    Args:
        run: whose layers and formats.
        layers: index and name of each layer that was measured.
        reached: linears that the sequence reached; the cells of others have no sample.
        samples: what was measured.
    """
    result = run.no_statistics()
    for index, name in layers:
        if run.model.linears[name] in reached:
            for k in run.storable(name):
                sample = samples.get((index, k), 0.0)
                result[index, k] = 1.0, sample, sample * sample
    return result
