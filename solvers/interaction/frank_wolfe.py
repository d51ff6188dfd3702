"""A certified bound under convex interactions: fully corrective Frank–Wolfe with the knapsack's linear relaxation."""

import math

import numpy as np

from solvers.arrays import Floats
from solvers.interaction.additive import AdditivePart
from solvers.interaction.bound import InteractionBound
from solvers.interaction.gram import Gram
from solvers.interaction.simplex_program import minimise_on_simplex
from solvers.solver import Deadline


def bound_gram(part: AdditivePart, gram: Gram, *, tolerance: float, max_steps: int, deadline: Deadline) -> InteractionBound:
    """Minimise ``Σ loss·y + Σ_s w_s·(f_s·y)²`` over mixed choices y that keep the budgets, and bound it from below.

    The tangent at the totals of the present point is an additive problem; its linear relaxation gives a bound and a new
    point; the best mixture of all points found is the next (Frank and Wolfe 1956; Holloway 1974 for the full correction).
    Only the losses and the S totals of a point are kept.

    Args:
        part: sizes and budgets, and the losses of single classes.
        gram: the interaction.
        tolerance: end when the bound is this close to the mixture's value, relative.
        max_steps: most linear relaxations.
        deadline: looked at before each step but the first.
    """
    loss = part.problem.loss if gram.diagonal else part.problem.loss - gram.squares()
    finite, roots = np.where(np.isfinite(loss), loss, 0.0), np.sqrt(gram.weights)
    at, weights = np.zeros(gram.weights.shape), np.ones(1)
    costs, totals = np.empty(0), np.empty((0, roots.shape[0]))
    best, mixture = InteractionBound(-math.inf, np.zeros(part.problem.budgets.shape), None), math.inf
    for step in range(max_steps):
        if step and deadline.passed():
            break
        tangent = gram.minorant(at)
        linear = part.bound(part.problem.loss + tangent.loss)
        value = linear.value + tangent.constant
        if value > best.value:
            best = InteractionBound(value, linear.multipliers, at)
        if step and mixture - best.value <= tolerance * abs(mixture):
            break
        costs = np.append(costs, float((finite * linear.point).sum()))
        totals = np.vstack((totals, roots * np.tensordot(gram.factors, linear.point, axes=2)))
        weights = np.append(weights, 0.0) if step else weights
        weights, mixture = _corrected(costs, totals, weights)
        costs, totals, weights = costs[weights > 0], totals[weights > 0], weights[weights > 0]
        at = np.divide(weights @ totals, roots, out=np.zeros(roots.shape), where=roots > 0)
    return best


def _corrected(costs: Floats, totals: Floats, weights: Floats) -> tuple[Floats, float]:
    """The best mixture of the points so far and its value."""
    products = totals @ totals.T
    scale = float(np.abs(costs - costs.min()).max() + np.abs(products).max()) or 1.0
    weights = minimise_on_simplex((costs - costs.min()) / scale, products / scale, weights)
    mixed = weights @ totals
    return weights, float(weights @ costs + mixed @ mixed)
