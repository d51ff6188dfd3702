"""The fitness port, and the samples that a fitness is measured on."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.problem import Problem


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Which calibration units (sequences, or tokens) a fitness is measured on.

    Attributes:
        stage: which stage of the selection asks, from 0; for the selection sample the last one.
        generation: which generation asks, from 1; 0 for the selection sample.
        indices: int64 ``[U]``, rising, without repeats, out of ``range(pool)``. Equal indices are the same sample, whoever
            asks, so a fitness must not depend on the other two.
        key: 16 bytes, the same for equal indices.
    """

    stage: int
    generation: int
    indices: Integers
    key: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.indices.setflags(write=False)
        object.__setattr__(self, "key", digest(self.indices))

    @property
    def units(self) -> int:
        """U, what one evaluation on this sample costs."""
        return int(self.indices.shape[0])


Fitness = Callable[[Integers, Sample], Floats]
"""``fitness(choices, sample)``: int64 ``[M, N]`` to float64 ``[M]``, less is better.

The choices of a call are distinct and were not measured on this sample before. They come together so that a model can order
its work. What is not finite loses against everything finite.
"""


@dataclass(frozen=True, slots=True, eq=False)
class AdditiveFitness:
    """Σ_i loss[i, choice_i] on every sample: the fitness of a problem that is nothing but its table."""

    problem: Problem

    def __call__(self, choices: Integers, sample: Sample) -> Floats:
        """float64 ``[M]``."""
        losses: Floats = self.problem.loss[np.arange(self.problem.classes), choices].sum(axis=1)
        return losses


def draw_sample(random: np.random.Generator, *, stage: int, generation: int, units: int, pool: int) -> Sample:
    """``units`` of the pool, without repeats."""
    if units == pool:
        return Sample(stage, generation, np.arange(pool))
    return Sample(stage, generation, np.sort(random.choice(pool, units, replace=False)).astype(np.int64))


def digest(values: Integers) -> bytes:
    """16 bytes that tell rows of whole numbers apart."""
    return hashlib.blake2b(np.ascontiguousarray(values, dtype="<i8").tobytes(), digest_size=16).digest()
