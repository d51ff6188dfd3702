"""The evolution against the contract of every solver, with a small allowance."""

from solvers.evolutionary import Allowance, Evolutionary
from tests.solvers.contract import SolverContract


class TestEvolutionary(SolverContract):
    solver = Evolutionary(allowance=Allowance(generations=3, evaluations=100))
    exact = False
