"""Convex relaxations under any number of budgets."""

from solvers.convex.solver import Convex, RobustPlan, robust_plan

__all__ = ["Convex", "RobustPlan", "robust_plan"]
