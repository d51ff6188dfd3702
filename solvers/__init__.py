"""Solvers of the multiple-choice knapsack: numbers in, proved numbers out."""

from solvers.baselines import HullGreedy, Uniform
from solvers.brute_force import BruteForce
from solvers.driver import solve
from solvers.errors import NoAllowedItemError, ProblemError, SettingError, SolverError, UnsupportedProblemError
from solvers.frontiers import Frontier, even_budgets, frontier, hypervolume, knee, proved
from solvers.mckp import Mckp
from solvers.problem import Problem
from solvers.solution import Solution, Stats, Status
from solvers.solver import AbstractSolver, Answer, Deadline

__all__ = [
    "AbstractSolver",
    "Answer",
    "BruteForce",
    "Deadline",
    "Frontier",
    "HullGreedy",
    "Mckp",
    "NoAllowedItemError",
    "Problem",
    "ProblemError",
    "SettingError",
    "Solution",
    "SolverError",
    "Stats",
    "Status",
    "Uniform",
    "UnsupportedProblemError",
    "even_budgets",
    "frontier",
    "hypervolume",
    "knee",
    "proved",
    "solve",
]
