"""Every solver against the one contract."""

from solvers import BruteForce, HullGreedy, Mckp, Uniform
from tests.solvers.contract import SolverContract


class TestBruteForce(SolverContract):
    solver = BruteForce()
    exact = True


class TestMckp(SolverContract):
    solver = Mckp()
    exact = True


class TestMckpByProgram(SolverContract):
    """No list search to speak of: HiGHS has to finish on the core."""

    solver = Mckp(max_states=0)
    exact = True


class TestHullGreedy(SolverContract):
    solver = HullGreedy()
    exact = False


class TestUniform(SolverContract):
    solver = Uniform()
    exact = False
    always_answers = False
