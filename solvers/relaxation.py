"""What a solver's certificate makes of a problem: additive losses whose Lagrangian bound holds for the problem itself."""

import math
from dataclasses import dataclass

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.problem import Problem
from solvers.side_rules import LinearRow


@dataclass(frozen=True, slots=True, eq=False)
class Relaxation:
    """Additive losses below the loss of a problem, for every choice that keeps its rules.

    ``total_loss(x) ≥ constant + Σ_i loss[i, x_i]``: the interaction is replaced by its minorant and each row of the side
    rules, ``Σ_i a[i, x_i] ≤ b``, is added with its multiplier, as ``μ·(Σ_i a[i, x_i] − b) ≤ 0``. The 0/1 helpers of a rule
    take the values that make this least.

    Attributes:
        loss: float64 ``[N, K]``.
        added: float64 ``[N, K]``, what ``loss`` has above the problem's own; ``None`` where nothing was added.
        constant: what no class has.
    """

    loss: Floats
    added: Floats | None
    constant: float


def rule_rows(problem: Problem) -> list[LinearRow]:
    """The linear rows of all side rules, in order; one multiplier belongs to each."""
    return [row for rule in problem.rules for row in rule.rows(problem.classes, problem.items)]


def relax(problem: Problem, rule_multipliers: Floats | None = None, certificate: Floats | None = None) -> Relaxation:
    """The relaxation at these multipliers and this certificate; the losses themselves where a problem has neither.

    Args:
        problem: any.
        rule_multipliers: float64, one number ≥ 0 for each of ``rule_rows``; ``None`` leaves the rules out.
        certificate: what the problem's interaction makes its minorant of.

    Raises:
        ValueError: a certificate that the interaction cannot read.
    """
    prices = [] if rule_multipliers is None else rule_multipliers.tolist()
    if problem.interaction is None and not any(prices):
        return Relaxation(problem.loss, None, 0.0)
    added, constants = np.zeros(problem.loss.shape), [0.0]
    if problem.interaction is not None:
        below = problem.interaction.minorant(certificate)
        added += below.loss
        constants.append(below.constant)
    if any(prices):
        constants += _add_rules(problem, prices, added)
    return Relaxation(problem.loss + added, added, math.fsum(constants))


def _add_rules(problem: Problem, prices: list[float], added: Floats) -> list[float]:
    """Add every priced row to the table of losses; the constants that belong to them."""
    constants, start = [], 0
    for rule in problem.rules:
        rows = rule.rows(problem.classes, problem.items)
        constants += _add_rows(rows, prices[start : start + len(rows)], added)
        start += len(rows)
    return constants


def _add_rows(rows: list[LinearRow], prices: list[float], added: Floats) -> list[float]:
    """One rule's rows; their helpers are shared, so that each is priced over all of them."""
    constants: list[float] = []
    helpers: Floats = np.zeros(0)
    for price, row in zip(prices, rows, strict=True):
        if price > 0:
            added[slice(None) if row.classes is None else row.classes] += price * row.coefficients
            constants.append(-price * row.bound)
            if row.helpers is not None:
                priced: Floats = price * row.helpers.astype(np.float64)
                helpers = helpers + priced if helpers.size else priced
    return [*constants, float(np.minimum(helpers, 0.0).sum())]


def height_above(problem: Problem, choice: Integers, relaxation: Relaxation) -> float:
    """How far the loss of a choice lies above its additive losses, ≥ 0 up to rounding."""
    if relaxation.added is None:
        return 0.0
    interaction = 0.0 if problem.interaction is None else float(problem.interaction.values(choice[None, :])[0])
    return interaction - relaxation.constant - math.fsum(relaxation.added[np.arange(problem.classes), choice])
