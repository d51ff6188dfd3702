"""Reverse water-filling: how many bits each component gets when its loss falls as ``c·β^(−bits)`` and a budget is shared.

    min Σ_j c_j·β_j^(−b_j)   subject to   Σ_j n_j·(b_j + o_j) ≤ B,   lo_j ≤ b_j ≤ hi_j

A component is whatever gets its own bits: a layer, a row or a column of a weight. The stationary point is ``c_j·ln β_j·
β_j^(−b_j)/n_j = μ``, so that ``b_j = clip((s_j − ν)/ln β_j)`` with ``s_j = ln(c_j·ln β_j/n_j)`` and ``ν = ln μ``: linear in ν
between two breakpoints, for unequal β_j too. The segment of the optimum is found by halving the 2N breakpoints with
medians, O(N), and is solved in closed form; everything is done with logarithms, so no scale of c or n overflows. Sources: BAQ
(arXiv 2506.05664), reverse water-filling (Cover and Thomas, *Elements of Information Theory*, section 10.3).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solvers.arrays import Floats
from solvers.errors import ProblemError
from solvers.rates.components import Components, spread
from solvers.rates.water_level import find_level, polish_bits
from solvers.solution import Status


@dataclass(frozen=True, slots=True, eq=False)
class WaterFilling:
    """The optimum and its proof.

    Attributes:
        status: OPTIMAL, or INFEASIBLE when the budget is below ``floor``; the bits are then those of ``floor``.
        bits: float64 ``[N]``.
        log_multiplier: ν = ln μ, ``-inf`` when the budget does not bind; finite where μ itself under- or overflows.
        losses: float64 ``[N]``, loss of each component.
        side: int8 ``[N]``: −1 at ``low``, 0 between, 1 at ``high``; a component with low = high counts as at ``low``.
        size: Σ n·(bits + o).
        floor: the least feasible budget.
        kkt: residual of the optimality conditions, see ``kkt_residual``.
        equal_loss_cv: coefficient of variation, over the components between their limits, of the marginal loss per unit of
            budget, which for one common β is the loss per weight up to a factor: BAQ's equal-loss structure. 0 without any.
    """

    status: Status
    bits: Floats
    log_multiplier: float
    losses: Floats
    side: NDArray[np.int8]
    size: float
    floor: float
    kkt: float
    equal_loss_cv: float

    @property
    def loss(self) -> float:
        """Total loss."""
        return float(self.losses.sum())

    @property
    def multiplier(self) -> float:
        """μ, loss saved by one more unit of budget; 0 when it does not bind."""
        with np.errstate(over="ignore", under="ignore"):
            return float(np.exp(self.log_multiplier))


def water_fill(components: Components, budget: float) -> WaterFilling:
    """The exact optimum of the rate problem; O(N).

    Components that lose nothing (c = 0) stay at ``low``.

    Raises:
        ProblemError: a budget that is NaN, or endless where the bits have no limit.
    """
    if np.isnan(budget):
        msg = "the budget is NaN; give it in the unit of weights times bits"
        raise ProblemError(msg)
    gain, decay, budget = components.log_gain(), np.log(components.beta), float(budget)
    top = np.where(components.scale > 0, components.high, components.low)
    if budget < components.floor:
        return _result(components, gain, budget, components.low.copy(), np.inf)
    if budget == np.inf and np.isinf(top).any():
        msg = "the budget is inf and so are the most bits of a component: the best bits are too; limit one of them"
        raise ProblemError(msg)
    if components.size(top) <= budget:
        return _result(components, gain, budget, top, -np.inf)
    level = find_level(components, gain, decay, budget)
    bits, level = polish_bits(components, gain, decay, budget, level)
    return _result(components, gain, budget, bits, level)


def _result(components: Components, gain: Floats, budget: float, bits: Floats, level: float) -> WaterFilling:
    side = np.zeros(components.count, dtype=np.int8)
    side[bits >= components.high] = 1
    side[bits <= components.low] = -1
    marginal = gain - bits * np.log(components.beta)
    feasible = level < np.inf
    return WaterFilling(
        status=Status.OPTIMAL if feasible else Status.INFEASIBLE,
        bits=bits,
        log_multiplier=level,
        losses=components.losses(bits),
        side=side,
        size=components.size(bits),
        floor=components.floor,
        kkt=_residual(components, budget, bits, marginal, level) if feasible else np.inf,
        equal_loss_cv=_variation(marginal[side == 0]),
    )


def _variation(logs: Floats) -> float:
    """Standard deviation over mean of the exponentials."""
    if logs.size == 0:
        return 0.0
    values = np.exp(logs - logs.max())
    return float(values.std() / values.mean())


def kkt_residual(components: Components, budget: float, bits: Floats, log_multiplier: float) -> float:
    """How far bits and a multiplier are from the conditions of Karush, Kuhn and Tucker, as one relative number.

    The largest of: the relative distance of the marginal loss per unit from μ (between the limits), how far it lies on the
    wrong side of μ (at a limit), how far bits leave their limits, how far the size passes the budget, and, where μ > 0, how
    far it stays below; sizes relative to ``B + Σ n·(|bits| + o)``. Float64 bits resolve the marginal loss to 1e-16·bits·ln β.
    """
    marginal = components.log_gain() - bits * np.log(components.beta)
    return _residual(components, budget, bits, marginal, log_multiplier)


def _residual(components: Components, budget: float, bits: Floats, marginal: Floats, level: float) -> float:
    scale = abs(budget) + components.size(np.abs(bits))
    over = (components.size(bits) - budget) / scale if scale > 0 else 0.0
    primal = abs(over) if level > -np.inf else over
    outside = float(np.maximum(components.low - bits, bits - components.high).max(initial=0.0))
    live = np.flatnonzero((components.high > components.low) & (components.scale > 0))
    distance, bits = marginal[live] - level, bits[live]
    too_few = np.where(bits >= components.high[live], 0.0, distance).max(initial=0.0)
    too_many = np.where(bits <= components.low[live], 0.0, -distance).max(initial=0.0)
    with np.errstate(over="ignore"):
        stationary = float(np.expm1(max(too_few, too_many)))
    return max(primal, stationary, outside)


@dataclass(frozen=True, slots=True)
class Regret:
    """What planning with a wrong β costs.

    Attributes:
        planned: true loss of the bits planned with the assumed β.
        best: true loss of the best bits.
    """

    planned: float
    best: float

    @property
    def relative(self) -> float:
        """(planned − best)/best; 0 when both are equal."""
        if self.planned == self.best:
            return 0.0
        return (self.planned - self.best) / self.best if self.best else np.inf


def wrong_beta_regret(truth: Components, budget: float, assumed_beta: ArrayLike, *, measured_at: float = 0.0) -> Regret:
    """Plan with an assumed β where the loss falls with the β of ``truth``.

    One wrong β for components that share one true β moves bits too far or not far enough; RateQuant (arXiv 2605.06675) saw it
    invert the order.

    Args:
        truth: the components with their true β.
        budget: as in ``water_fill``.
        assumed_beta: β > 1, a number or ``[N]``.
        measured_at: bits at which the planner knows the loss; the assumed curves pass through the true loss there.

    Raises:
        ProblemError: an assumed β that is no β, or an infeasible budget.
    """
    beta = spread(assumed_beta, truth.count, "assumed_beta")
    at = np.full(truth.count, float(measured_at))
    anchored = Components(truth.losses(at), truth.weights, beta, truth.low - at, truth.high - at, truth.side_bits)
    best, planned = water_fill(truth, budget), water_fill(anchored, budget - float((truth.weights * at).sum()))
    if best.status is Status.INFEASIBLE:
        msg = f"the budget {budget} is below {best.floor}, the size of the fewest bits; raise it"
        raise ProblemError(msg)
    return Regret(float(truth.losses(planned.bits + at).sum()), best.loss)
