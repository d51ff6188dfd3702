"""Solvers of bit allocation as a multiple-choice knapsack: numbers in, proved numbers out."""

from solvers.baselines import HullGreedy, Uniform
from solvers.bisection import Bisection, lower_least_sensitive, solved_family
from solvers.brute_force import BruteForce
from solvers.convex.solver import Convex, robust_plan
from solvers.driver import solve
from solvers.errors import (
    CheckpointError,
    FitnessError,
    MeasurementError,
    NoAllowedItemError,
    ProblemError,
    SettingError,
    SolverError,
    UnsupportedProblemError,
)
from solvers.evolutionary import Evolutionary
from solvers.frontiers import ExactFrontier, Frontier, even_budgets, exact_frontier, frontier, hypervolume, knee, proved
from solvers.ilp import Ilp, diverse
from solvers.interaction import Gram, Interaction, PairTables
from solvers.mckp import Mckp
from solvers.pins import pinned
from solvers.problem import Problem
from solvers.rates.closed_form import ClosedForm
from solvers.rates.components import Components
from solvers.rates.water_filling import WaterFilling, water_fill
from solvers.side_rules import ContiguousRule, CountRule, DistanceRule, ImplicationRule
from solvers.solution import Solution, Stats, Status
from solvers.solver import AbstractSolver, Answer, Deadline

__all__ = [
    "AbstractSolver",
    "Answer",
    "Bisection",
    "BruteForce",
    "CheckpointError",
    "ClosedForm",
    "Components",
    "ContiguousRule",
    "Convex",
    "CountRule",
    "Deadline",
    "DistanceRule",
    "Evolutionary",
    "ExactFrontier",
    "FitnessError",
    "Frontier",
    "Gram",
    "HullGreedy",
    "Ilp",
    "ImplicationRule",
    "Interaction",
    "Mckp",
    "MeasurementError",
    "NoAllowedItemError",
    "PairTables",
    "Problem",
    "ProblemError",
    "SettingError",
    "Solution",
    "SolverError",
    "Stats",
    "Status",
    "Uniform",
    "UnsupportedProblemError",
    "WaterFilling",
    "diverse",
    "even_budgets",
    "exact_frontier",
    "frontier",
    "hypervolume",
    "knee",
    "lower_least_sensitive",
    "pinned",
    "proved",
    "robust_plan",
    "solve",
    "solved_family",
    "water_fill",
]
