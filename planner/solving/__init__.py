"""From a posed planning question to a proved plan: limits, counts, caution, alternatives, and what explains the answer."""

from planner.solving.alternatives import Alternative, next_best
from planner.solving.budget_limits import check_ceiling, check_ceilings, check_floor, check_floors
from planner.solving.conflicts import refuse_conflict
from planner.solving.counts import Count, PosedCount, pose_count, rows_of
from planner.solving.limits import Limit, Limits, Metered, pose_limits
from planner.solving.plan import BITS_PER_MEGABYTE, Solved, pose_problem, solve_plan
from planner.solving.pools import Placed, curves_in_pools, in_pools, placed
from planner.solving.rows import Row
from planner.solving.smallest import Smallest, smallest_plan
from planner.solving.uniform import Uniforms, uniform_choice

__all__ = [
    "BITS_PER_MEGABYTE",
    "Alternative",
    "Count",
    "Limit",
    "Limits",
    "Metered",
    "Placed",
    "PosedCount",
    "Row",
    "Smallest",
    "Solved",
    "Uniforms",
    "check_ceiling",
    "check_ceilings",
    "check_floor",
    "check_floors",
    "curves_in_pools",
    "in_pools",
    "next_best",
    "placed",
    "pose_count",
    "pose_limits",
    "pose_problem",
    "refuse_conflict",
    "rows_of",
    "smallest_plan",
    "solve_plan",
    "uniform_choice",
]
