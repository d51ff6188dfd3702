"""The (1+λ) evolution: from the best seed through the generations to the best choice on the selection sample."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from solvers.arrays import Integers
from solvers.errors import FitnessError
from solvers.evolutionary.allowance import Ending
from solvers.evolutionary.fitness import Sample
from solvers.evolutionary.judge import Judge
from solvers.evolutionary.ladders import Ladders, build_ladders
from solvers.evolutionary.mutation import Neighbourhood
from solvers.evolutionary.schedule import Generation, Schedule
from solvers.evolutionary.seeds import Seed
from solvers.evolutionary.stages import select
from solvers.problem import Problem

TRIES = 4  # draws for each offspring wanted


@dataclass(slots=True, eq=False)
class Search:
    """A search on its way.

    Attributes:
        problem: sizes, budgets, and the losses that predict.
        schedule: how generations are made.
        judge: what measures.
        ladders: levels of the problem.
        selection: one sample for the whole search, as large as that of the last stage. Seeds and new parents are measured
            on it.
        parent: int64 ``[N]``, what the next generation challenges.
        champion: int64 ``[N]``, the best on the selection sample of all seeds and parents so far: what is handed back, so
            that it is never worse there than any seed.
        best: its fitness there.
        first: number of the seed that became the first parent.
        seeds: fitness of each seed on the selection sample.
        history: the generations made.
    """

    problem: Problem
    schedule: Schedule
    judge: Judge
    ladders: Ladders
    selection: Sample
    parent: Integers
    champion: Integers
    best: float
    first: int
    seeds: tuple[float, ...]
    history: list[Generation]

    @classmethod
    def begin(cls, problem: Problem, schedule: Schedule, judge: Judge, seeds: Sequence[Seed]) -> "Search":
        """Measure the seeds; the best is the first parent.

        Raises:
            FitnessError: no seed has a finite fitness.
        """
        selection = schedule.samples(schedule.random(0), 0)[-1]
        values = judge.measure(np.stack([seed.choice for seed in seeds]), selection, always=True)
        assert values is not None  # noqa: S101  (no limit applies)
        first = int(values.argmin())
        if not np.isfinite(values[first]):
            msg = f"the fitness is not finite for any of the seeds ({', '.join(seed.name for seed in seeds)}); give a sound plan"
            raise FitnessError(msg)
        choice, fitness = seeds[first].choice, values.tolist()
        ladders = build_ladders(problem)
        return cls(problem, schedule, judge, ladders, selection, choice, choice, fitness[first], first, tuple(fitness), [])

    def finish(self) -> Ending:
        """Make generations until a limit, or until nothing new is found around the parent.

        Raises:
            FitnessError: the fitness broke: not even the parent is finite any more.
        """
        around = None
        for number in range(1, self.judge.allowance.generations + 1):
            around = around or Neighbourhood(self.problem, self.ladders, self.parent, self.schedule.mutation)
            random = self.schedule.random(number)
            samples = self.schedule.samples(random, number)
            offspring = self._offspring(around, samples[-1], random)
            if not offspring.shape[0]:
                return Ending.EXHAUSTED
            if not self._advance(number, samples, offspring):
                return self.judge.ending or Ending.GENERATIONS
            around = None if self.history[-1].accepted else around
            self.judge.record.end_generation(number)
        return Ending.GENERATIONS

    def _offspring(self, around: Neighbourhood, last: Sample, random: np.random.Generator) -> Integers:
        """Up to λ distinct choices, int64 ``[M, N]``; fewer where the draws find no more.

        Where the last stage always measures on the whole pool, a choice that was there and did not win cannot win later: it
        is not drawn again, so that a search of a small space comes to its end.
        """
        settled = last.units == self.schedule.pool
        found: dict[bytes, Integers] = {}
        for _ in range(TRIES * self.schedule.offspring):
            changes = around.draw(random)
            if changes is None:
                continue
            child = self.parent.copy()
            child[list(changes)] = list(changes.values())
            if not (settled and self.judge.knows(child, last)):
                found.setdefault(child.tobytes(), child)
            if len(found) == self.schedule.offspring:
                break
        return np.stack(list(found.values())) if found else np.empty((0, self.problem.classes), dtype=np.int64)

    def _advance(self, number: int, samples: Sequence[Sample], offspring: Integers) -> bool:
        """One generation; ``False`` at a limit, and nothing has then changed."""
        winner = select(self.judge, self.schedule.stages, samples, offspring, self.parent)
        if winner is None:
            return False
        if not winner.is_parent:
            value = self.judge.measure(winner.choice[None], self.selection)
            if value is None:
                return False
            self.parent = winner.choice
            if value[0] < self.best:
                self.champion, self.best = winner.choice, float(value[0])
        accepted, judge = not winner.is_parent, self.judge
        made = Generation(number, len(offspring), accepted, winner.fitness, self.best, judge.evaluations, judge.units)
        self.history.append(made)
        return True
