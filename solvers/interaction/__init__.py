"""Losses that classes share: what they look like (``Gram``, ``PairTables``) and the solver that takes them."""

from solvers.interaction.gram import Gram
from solvers.interaction.pairs import PairTables
from solvers.interaction.solver import Interaction

__all__ = ["Gram", "Interaction", "PairTables"]
