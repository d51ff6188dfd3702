"""How generations are made, and what they leave in the history."""

from dataclasses import dataclass, field

import numpy as np

from solvers.errors import SettingError
from solvers.evolutionary.fitness import Sample, draw_sample
from solvers.evolutionary.mutation import Mutation
from solvers.evolutionary.stages import Stage, check_stages


@dataclass(frozen=True, slots=True)
class Schedule:
    """How generations are made.

    Attributes:
        offspring: λ, challengers of a generation, at most.
        stages: the selection.
        pool: calibration units that samples are drawn from.
        mutation: how offspring are drawn.
        seed: of all randomness. The generator of a generation is made of this and of its number alone.
    """

    offspring: int = 32
    stages: tuple[Stage, ...] = (Stage(1, 1),)
    pool: int = 1
    mutation: Mutation = field(default_factory=Mutation)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.offspring < 1:
            msg = f"offspring is {self.offspring}; give 1 at least"
            raise SettingError(msg)
        if self.seed < 0:
            msg = f"seed is {self.seed}; give zero or more"
            raise SettingError(msg)
        check_stages(self.stages, self.pool)

    def random(self, generation: int) -> np.random.Generator:
        """The generator of a generation; that of 0 draws the selection sample."""
        return np.random.default_rng([self.seed, generation])

    def samples(self, random: np.random.Generator, generation: int) -> list[Sample]:
        """A fresh sample for each stage."""
        return [
            draw_sample(random, stage=number, generation=generation, units=stage.units, pool=self.pool)
            for number, stage in enumerate(self.stages)
        ]


@dataclass(frozen=True, slots=True)
class Generation:
    """What one generation did.

    Attributes:
        number: from 1.
        offspring: distinct challengers.
        accepted: a challenger replaced the parent.
        fitness: of the winner, on this generation's last sample.
        best: fitness of the best choice so far on the selection sample; never rises.
        evaluations: so far.
        units: so far.
    """

    number: int
    offspring: int
    accepted: bool
    fitness: float
    best: float
    evaluations: int
    units: int
