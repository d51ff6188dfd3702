"""Integer programs for several budgets and side rules."""

from solvers.ilp.diverse import diverse
from solvers.ilp.solver import Ilp

__all__ = ["Ilp", "diverse"]
