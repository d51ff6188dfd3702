"""Selection in stages: many offspring on small samples, few on large ones, and the parent against the last."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.errors import FitnessError, SettingError
from solvers.evolutionary.fitness import Sample
from solvers.evolutionary.judge import Judge


@dataclass(frozen=True, slots=True)
class Stage:
    """One round of a selection.

    Attributes:
        survivors: how many go on; 1 in the last stage.
        units: calibration units of its sample.
    """

    survivors: int
    units: int


EVOPRESS = (Stage(16, 2_048), Stage(4, 16_384), Stage(1, 131_072))
"""EvoPress's stages for quantization, in tokens; with 128 offspring and a pool of 524,288 (arXiv 2410.14649)."""


def check_stages(stages: Sequence[Stage], pool: int) -> None:
    """Raise where the stages make no selection.

    Raises:
        SettingError: no stage, a last stage with more than one survivor, growing survivors, shrinking or impossible samples.
    """
    survivors, units = [stage.survivors for stage in stages], [stage.units for stage in stages]
    if not stages or survivors[-1] != 1 or min(survivors) < 1 or survivors != sorted(survivors, reverse=True):
        msg = f"stages have survivors {survivors}; let them fall from stage to stage and end with 1"
        raise SettingError(msg)
    if min(units) < 1 or units != sorted(units) or units[-1] > pool:
        msg = f"stages have samples of {units} units out of a pool of {pool}; let them grow from 1 at least to the pool at most"
        raise SettingError(msg)


@dataclass(frozen=True, slots=True, eq=False)
class Winner:
    """What a selection leaves.

    Attributes:
        choice: int64 ``[N]``.
        fitness: on the sample of the last stage.
        is_parent: no challenger was as good as the parent.
    """

    choice: Integers
    fitness: float
    is_parent: bool


def select(
    judge: Judge, stages: Sequence[Stage], samples: Sequence[Sample], offspring: Integers, parent: Integers
) -> Winner | None:
    """The best of the last stage, in which the parent competes on the same sample (elitism); ``None`` at a limit.

    A challenger as good as the parent replaces it, so that the search may drift along plateaus. What is not finite loses.

    Args:
        judge: measures.
        stages: survivors of each stage.
        samples: what each stage measures on.
        offspring: int64 ``[M, N]``.
        parent: int64 ``[N]``.

    Raises:
        FitnessError: in the last stage nothing was finite, not even the parent.
    """
    field = offspring
    for stage, sample in zip(stages[:-1], samples[:-1], strict=True):
        ranked = _rank(judge, field, sample)
        if ranked is None:
            return None
        field = field[ranked[0][: stage.survivors]]
    field = np.concatenate((field, parent[None]))
    ranked = _rank(judge, field, samples[-1])
    if ranked is None:
        return None
    order, values = ranked
    if not order.size:
        number = samples[-1].generation
        msg = f"generation {number}: no fitness is finite in the last stage, not even that of the parent"
        raise FitnessError(msg)
    best = int(order[0])
    return Winner(field[best], float(values[best]), is_parent=best == field.shape[0] - 1)


def _rank(judge: Judge, field: Integers, sample: Sample) -> tuple[Integers, Floats] | None:
    """Positions in the field of what is finite, the best first, and all values; ``None`` at a limit."""
    values = judge.measure(field, sample)
    if values is None:
        return None
    order = np.argsort(values, kind="stable")
    return order[np.isfinite(values[order])], values
