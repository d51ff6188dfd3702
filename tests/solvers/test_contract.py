"""Every solver against the one contract."""

from solvers import BruteForce, HullGreedy, Mckp, Uniform
from tests.solvers.contract import SolverContract, TwoBudgetContract


class TestBruteForce(TwoBudgetContract):
    solver = BruteForce()
    exact = True


class TestMckp(TwoBudgetContract):
    solver = Mckp()
    exact = True


class TestMckpByProgram(TwoBudgetContract):
    """No list search to speak of: HiGHS has to finish on the core."""

    solver = Mckp(max_states=0)
    exact = True


class TestHullGreedy(SolverContract):
    solver = HullGreedy()
    exact = False


class TestUniform(TwoBudgetContract):
    solver = Uniform()
    exact = False
    always_answers = False
