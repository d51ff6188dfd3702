"""EvoPress's search as a solver: a measured fitness under exact budgets."""

import hashlib
from dataclasses import dataclass, field

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.baselines import HullGreedy, Uniform
from solvers.driver import find_unsupported
from solvers.errors import UnsupportedProblemError
from solvers.evolutionary.allowance import Allowance, Ending
from solvers.evolutionary.checkpoint import Checkpoint, Record
from solvers.evolutionary.fitness import AdditiveFitness, Fitness
from solvers.evolutionary.judge import Judge
from solvers.evolutionary.schedule import Generation, Schedule
from solvers.evolutionary.search import Search
from solvers.evolutionary.seeds import Seed, Seeds, collect_seeds
from solvers.mckp import Mckp
from solvers.problem import Problem
from solvers.solution import Status
from solvers.solver import AbstractSolver, Answer, Deadline


@dataclass(frozen=True, slots=True, eq=False)
class Evolution:
    """What a search found.

    Attributes:
        choice: int64 ``[N]``, within the budgets.
        fitness: on the selection sample; never above any of ``seed_fitness``.
        origin: name of the seed that the search began from, the best on the selection sample.
        seed_fitness: fitness of every seed by name, on the selection sample.
        improved: the choice is not that seed.
        history: the generations in their order.
        evaluations: choices measured on a sample.
        units: the same times the units of their samples.
        ending: why the search ended.
        multipliers: float64 ``[R]``, of the best bound that a seeding solver gave on the table; ``None`` without one.
    """

    choice: Integers
    fitness: float
    origin: str
    seed_fitness: dict[str, float]
    improved: bool
    history: tuple[Generation, ...]
    evaluations: int
    units: int
    ending: Ending
    multipliers: Floats | None


@dataclass(frozen=True, slots=True)
class Evolutionary(AbstractSolver):
    """Minimise a fitness that can only be measured, with any number of budgets (EvoPress; arXiv 2410.14649, ICML 2025).

    Take it when the losses of the classes do not add up, as with formats of 3 bits and less: start from the exact plan of the
    table and let measured fitness correct it. Where they do add up, ``Mckp`` gives the optimum and this only its seed.
    The loss table seeds the search, guides its moves, and is the fitness itself where none is given. ``search`` tells all
    that was found; through ``solvers.solve`` the bound and the gap are those of the table, and nothing else is proved.

    Attributes:
        fitness: the callable, less is better; ``None`` is the additive loss of the table.
        schedule: offspring, stages, samples, moves and the random seed.
        allowance: generations, evaluations and sample units.
        seeders: solvers whose choices on the table are seeds; those that do not take the problem are left out.
        plans: choices of the caller, seeds too; one over a budget is lowered until it fits.
        checkpoint: where to keep what was measured; a search that finds a file there goes on from it.
    """

    fitness: Fitness | None = field(default=None, repr=False)
    schedule: Schedule = field(default_factory=Schedule)
    allowance: Allowance = field(default_factory=Allowance)
    seeders: tuple[AbstractSolver, ...] = (Mckp(), Uniform(), HullGreedy())
    plans: tuple[tuple[int, ...], ...] = field(default=(), repr=False)
    checkpoint: Checkpoint | None = None

    def refusal(self, problem: Problem) -> str | None:
        """Takes any number of budgets."""
        return None

    def run(self, problem: Problem, deadline: Deadline) -> Answer:
        """The best choice found, never OPTIMAL by itself; FAILED where no seed keeps the budgets."""
        seeds = self._seeds(problem, deadline)
        if not seeds.starts:
            reason = "no choice within all budgets was found to start from; hand one in as a plan, or a seeder for these budgets"
            return Answer(Status.FAILED, None, reason=reason)
        found = self._search(problem, seeds, deadline)
        return Answer(Status.FEASIBLE, found.choice, found.multipliers)

    def search(self, problem: Problem, deadline: float | None = None) -> Evolution:
        """Everything about the search, not only the choice.

        Args:
            problem: sizes, budgets and the table of losses.
            deadline: wall seconds after which no stage is begun; the seeds are always measured.

        Raises:
            UnsupportedProblemError: the problem has side rules or an interaction, or no seed keeps its budgets.
            SettingError: a plan that is none, or a negative deadline.
            FitnessError: the fitness gave something else than one number a choice, or nothing finite.
            CheckpointError: the checkpoint is damaged or of another search.
        """
        stop = Deadline.after(deadline)
        refusal = find_unsupported(problem, self)
        if refusal is not None:
            raise UnsupportedProblemError(refusal)
        seeds = self._seeds(problem, stop)
        if not seeds.starts:
            smallest = problem.smallest_sizes().tolist()
            msg = (
                f"no choice within the budgets {problem.budgets.tolist()} was found to start from (the smallest items have sizes "
                f"{smallest}); raise a budget, or hand in a plan that keeps them"
            )
            raise UnsupportedProblemError(msg)
        return self._search(problem, seeds, stop)

    def _seeds(self, problem: Problem, deadline: Deadline) -> Seeds:
        return collect_seeds(problem, self.seeders, self.plans, deadline)

    def _search(self, problem: Problem, seeds: Seeds, deadline: Deadline) -> Evolution:
        record = Record.open(self.checkpoint, self._fingerprint(problem, seeds.starts))
        judge = Judge(self.fitness or AdditiveFitness(problem), self.allowance, deadline, record)
        search = Search.begin(problem, self.schedule, judge, seeds.starts)
        ending = search.finish()
        record.save()
        names = [seed.name for seed in seeds.starts]
        return Evolution(
            choice=search.champion,
            fitness=search.best,
            origin=names[search.first],
            seed_fitness=dict(zip(names, search.seeds, strict=True)),
            improved=search.best < search.seeds[search.first],
            history=tuple(search.history),
            evaluations=judge.evaluations,
            units=judge.units,
            ending=ending,
            multipliers=seeds.multipliers,
        )

    def _fingerprint(self, problem: Problem, starts: tuple[Seed, ...]) -> str:
        """Of all that a search depends on but the values of the fitness and the limits."""
        subject = self.checkpoint.subject if self.checkpoint else ""
        parts = [repr((subject, self.schedule, [seed.name for seed in starts], problem.sizes.shape)).encode()]
        arrays = (problem.loss, problem.sizes, problem.budgets, *(seed.choice for seed in starts))
        parts += [np.ascontiguousarray(array).tobytes() for array in arrays]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()
