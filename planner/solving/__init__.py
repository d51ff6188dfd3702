"""From a posed planning question to a proved plan: limits, counts, caution, alternatives, and what explains the answer."""

from planner.solving.alternatives import Alternative, next_best
from planner.solving.budget_limits import check_ceiling, check_floor
from planner.solving.conflicts import refuse_conflict
from planner.solving.counts import Count, PosedCount, pose_count, rows_of
from planner.solving.explaining import uniform_column
from planner.solving.plan import BITS_PER_MEGABYTE, Solved, pose_problem, solve_plan

__all__ = [
    "BITS_PER_MEGABYTE",
    "Alternative",
    "Count",
    "PosedCount",
    "Solved",
    "check_ceiling",
    "check_floor",
    "next_best",
    "pose_count",
    "pose_problem",
    "refuse_conflict",
    "rows_of",
    "solve_plan",
    "uniform_column",
]
