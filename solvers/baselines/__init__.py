"""Plain ways to choose, for comparison in reports and as a judge's reference in tests."""

from solvers.baselines.greedy import AdjacentGreedy, HullGreedy, LpRounding
from solvers.baselines.random_choice import Random
from solvers.baselines.ranking import OmpqLinear, RatioRule
from solvers.baselines.two_formats import TwoFormats
from solvers.baselines.uniform import Uniform

__all__ = ["AdjacentGreedy", "HullGreedy", "LpRounding", "OmpqLinear", "Random", "RatioRule", "TwoFormats", "Uniform"]
