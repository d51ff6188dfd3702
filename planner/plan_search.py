"""The evolutionary search of a refinement job: what is searched, and how far the measured fitness has carried it.

A search is a function of its settings and of the values that the fitness gave, in the order in which they were asked for. So a
unit of the job, one generation, hands over the values that it measured, and to go on is to search again from the beginning with
the values of the units before: whoever does that comes to the same place, bit for bit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from planner.jobs.errors import PermanentError
from solvers.errors import SolverError
from solvers.evolutionary import Allowance, Evolution, Evolutionary, Fitness, Sample, Schedule, Stage
from solvers.problem import Problem

_FIRST_SHARE, _LAST_SHARE = 8, 2
_SURVIVORS = 4


@final
@dataclass(frozen=True, slots=True, eq=False)
class PlanSearch:
    """A search over the formats of layer groups.

    Attributes:
        problem: sizes, budgets (of bits, and of layers for counts), and the losses that predict.
        start: item of every group in the plan to start from.
        groups: names of the layers of each group.
        formats: names of the items.
        offspring: challengers of a generation.
        pool: sequences to measure on.
        units: sequences that quantized models may be run over; ``None`` for no limit.
        seed: of everything random.
    """

    problem: Problem
    start: tuple[int, ...]
    groups: tuple[tuple[str, ...], ...]
    formats: tuple[str, ...]
    offspring: int
    pool: int
    units: int | None
    seed: int

    @classmethod
    def read(cls, payload: Mapping[str, Any]) -> Self:
        """The search that ``as_json`` wrote into the payload of a job."""
        loss = [[np.inf if value is None else value for value in row] for row in payload["loss"]]
        return cls(
            problem=Problem(loss=np.array(loss, dtype=np.float64), sizes=payload["sizes"], budgets=payload["budgets"]),
            start=tuple(payload["start"]),
            groups=tuple(tuple(group) for group in payload["groups"]),
            formats=tuple(payload["formats"]),
            offspring=payload["offspring"],
            pool=payload["pool"],
            units=payload["units"],
            seed=payload["seed"],
        )

    def as_json(self) -> dict[str, Any]:
        """Everything, to be stored in the payload of a job."""
        return {
            "loss": [[value if isfinite(value) else None for value in row] for row in self.problem.loss.tolist()],
            "sizes": self.problem.sizes.tolist(),
            "budgets": self.problem.budgets.tolist(),
            "start": list(self.start),
            "groups": [list(group) for group in self.groups],
            "formats": list(self.formats),
            "offspring": self.offspring,
            "pool": self.pool,
            "units": self.units,
            "seed": self.seed,
        }

    def assignment(self, choice: Sequence[int] | NDArray[np.int64]) -> dict[str, str]:
        """Layer → name of its format."""
        return {layer: self.formats[int(k)] for group, k in zip(self.groups, choice, strict=True) for layer in group}

    def go_on(self, known: Sequence[float], fitness: Fitness, *, generations: int) -> tuple[Evolution, list[float]]:
        """Search up to a generation.

        Args:
            known: what was measured so far, in its order.
            fitness: measures the rest.
            generations: how many, at most.

        Returns:
            What was found by then, and what was measured for it beyond ``known``.

        Raises:
            PermanentError: the search cannot go on; the message says why.
        """
        replayed = _Replayed(list(known), fitness)
        solver = Evolutionary(
            fitness=replayed,
            schedule=Schedule(offspring=self.offspring, stages=self._stages(), pool=self.pool, seed=self.seed),
            allowance=Allowance(generations=generations, units=self.units),
            plans=(self.start,),
        )
        try:
            found = solver.search(self.problem)
        except SolverError as error:
            msg = f"the search cannot go on: {error}"
            raise PermanentError(msg) from error
        return found, replayed.fresh

    def _stages(self) -> tuple[Stage, ...]:
        """All offspring on few sequences; the best of them, and the parent, on half of what there is."""
        first, last = -(-self.pool // _FIRST_SHARE), -(-self.pool // _LAST_SHARE)
        return (Stage(max(1, self.offspring // _SURVIVORS), first), Stage(1, last))


@dataclass(slots=True)
class _Replayed:
    """A fitness whose first values are known."""

    known: list[float]
    fitness: Fitness
    fresh: list[float] = field(default_factory=list)
    _read: int = 0

    def __call__(self, choices: NDArray[np.int64], sample: Sample) -> NDArray[np.float64]:
        end = self._read + len(choices)
        if end <= len(self.known):
            values = np.array(self.known[self._read : end])
            self._read = end
            return values
        if self._read < len(self.known):
            msg = "what was measured before is not what this search asks for: another version began the job; submit it again"
            raise PermanentError(msg)
        measured = np.asarray(self.fitness(choices, sample), dtype=np.float64)
        self.fresh.extend(measured.tolist())
        return measured


def nothing_left(_choices: NDArray[np.int64], _sample: Sample) -> NDArray[np.float64]:
    """The fitness of a search that has been measured to its end.

    Raises:
        PermanentError: it has not: results of units are missing.
    """
    msg = "the search asks for more than its units measured; submit the job again"
    raise PermanentError(msg)
