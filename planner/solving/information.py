"""What it is worth to measure a cell exactly, and what a plan may still lose for want of exact cells.

Losses are believed to be independent normal variables: the cell's loss, give or take what an exact measurement would take
away of its error.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

import solvers
from planner.build import Classes, GroupCurves
from planner.solving.plan import Solved, pose_problem

DRAWS: Final = 64
"""Draws of all losses that the expected regret is the mean of."""
_SECONDS_OF_A_DRAW: Final = 5.0


def information_values(priced: NDArray[np.float64], spread: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much loss the exact number of one cell saves on average, at a fixed price of a bit, float64 (groups, formats).

    At a fixed price each group takes the format of the least ``loss + price·size``. If one loss turns out to be another, the
    choice may follow it, to another format or away from the chosen one; with d the distance of the cell's priced loss to the
    least one of the group's other formats and σ its error, the expected saving is ``σ·φ(d/σ) − d·Φ(−d/σ)``: the knowledge
    gradient of ranking and selection (Gupta and Miescke, J. Stat. Plan. Inference 54, 1996; Frazier, Powell and Dayanik, SIAM
    J. Control Optim. 47, 2008). It is large for wide errors on cells that a choice hangs on, and 0 for cells that are exact.

    Args:
        priced: float64 (groups, formats): loss + price × size; ``inf`` where not legal.
        spread: float64 (groups, formats): σ; 0 where an exact measurement would tell nothing.
    """
    from scipy.special import ndtr  # here, so that plans do without it

    if not priced.size:
        return np.zeros(priced.shape)
    ordered = np.sort(priced, axis=1)
    least = ordered[:, :1]
    second = ordered[:, 1:2] if priced.shape[1] > 1 else np.full_like(least, np.inf)
    others = np.where(np.arange(priced.shape[1]) == priced.argmin(axis=1)[:, None], second, least)
    uncertain = (spread > 0) & np.isfinite(priced) & np.isfinite(others)
    sigma = np.where(uncertain, spread, 1.0)
    distance = np.abs(np.where(uncertain, priced, 0.0) - np.where(uncertain, others, 0.0))
    ratio = distance / sigma
    saved = sigma * np.exp(-np.square(ratio) / 2) / math.sqrt(2 * math.pi) - distance * ndtr(-ratio)
    values: NDArray[np.float64] = np.where(uncertain, np.maximum(saved, 0.0), 0.0)
    return values


@dataclass(frozen=True, slots=True)
class Regret:
    """What a plan loses to the plan that exact cells would give.

    Attributes:
        mean: over the draws, in the unit of the losses.
        standard_error: of the mean.
    """

    mean: float
    standard_error: float


def expected_regret(
    classes: Classes, curves: GroupCurves, solved: Solved, spread: NDArray[np.float64], *, seed: int, draws: int = DRAWS
) -> Regret:
    """Mean of ``loss(plan) − loss(best plan)`` over draws of what the losses may be; the best plan of a draw is solved exactly.

    Args:
        classes: layer groups.
        curves: their losses.
        solved: the plan, without counts and caution.
        spread: float64 (groups, formats): σ of each loss; 0 where it is sure.
        seed: of the draws; two plans with the same seed are judged on the same draws.
        draws: how many, ≥ 2.
    """
    if not spread.any():
        return Regret(0.0, 0.0)
    random = np.random.default_rng(seed)
    rows = np.arange(len(classes.groups))
    finite = np.isfinite(curves.loss)
    found = np.empty(draws)
    for draw in range(draws):
        noise = spread * random.standard_normal(spread.shape)
        loss = np.where(finite, curves.loss + noise, np.inf)
        problem = pose_problem(classes, GroupCurves(loss, curves.standard_error, ()), solved.budget_bits)
        best = solvers.solve(problem, solvers.Mckp(), deadline=_SECONDS_OF_A_DRAW)
        found[draw] = loss[rows, solved.proved.choice].sum() - best.loss
    found = np.maximum(found, 0.0)
    return Regret(float(found.mean()), float(found.std(ddof=1) / math.sqrt(draws)))
