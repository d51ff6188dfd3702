"""All budgets of one problem at once: bounds and choices from one sort, the whole exact frontier, and its shape."""

from solvers.frontiers.exact import ExactFrontier, exact_frontier
from solvers.frontiers.hull_frontier import Breakpoints, Frontier, breakpoints, even_budgets, frontier
from solvers.frontiers.proved import proved
from solvers.frontiers.shape import hypervolume, knee

__all__ = [
    "Breakpoints",
    "ExactFrontier",
    "Frontier",
    "breakpoints",
    "even_budgets",
    "exact_frontier",
    "frontier",
    "hypervolume",
    "knee",
    "proved",
]
