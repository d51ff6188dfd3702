"""The multiple-choice knapsack with one or two budgets, solved exactly."""

from solvers.mckp.solver import Mckp

__all__ = ["Mckp"]
