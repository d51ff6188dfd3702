"""Plain ways to choose, for comparison in reports and as a judge's reference in tests."""

from solvers.baselines.greedy import AdjacentGreedy, HullGreedy, LpRounding
from solvers.baselines.ranking import OmpqLinear, RatioRule
from solvers.baselines.shuffle import Shuffle
from solvers.baselines.two_formats import TwoFormats
from solvers.baselines.uniform import Uniform

__all__ = ["AdjacentGreedy", "HullGreedy", "LpRounding", "OmpqLinear", "RatioRule", "Shuffle", "TwoFormats", "Uniform"]
