"""Which cells to measure next, so that the plans of some budgets depend on exact numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.build import Classes, GroupCurves
from planner.solving.information import Regret, Uncertainty, expected_regret, information_values
from planner.solving.plan import Solved, solve_plan


@dataclass(frozen=True, slots=True, eq=False)
class Beliefs:
    """Curves of layer groups, and which of their cells are not exact yet.

    Attributes:
        classes: layer groups; legal where there is a loss.
        curves: their losses.
        open_cells: bool (layers, formats): cells that an exact measurement would change.
        uncertainty: of the layers' losses; none but in the open cells.
    """

    classes: Classes
    curves: GroupCurves
    open_cells: NDArray[np.bool_]
    uncertainty: Uncertainty

    @property
    def covariance(self) -> NDArray[np.float64]:
        """What measuring would tell of each group's losses, float64 (groups, formats, formats)."""
        total = np.zeros((*self.classes.legal.shape, self.classes.legal.shape[1]))
        np.add.at(total, self.classes.group_of_layer, self.uncertainty.covariance_of_losses())
        legal = self.classes.legal
        return np.where(legal[:, :, None] & legal[:, None, :], total, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Outlook:
    """The plan of one budget by these beliefs, and what it may lose.

    Attributes:
        solved: the plan.
        regret: expected, to the plan that exact cells would give.
    """

    solved: Solved
    regret: Regret

    @property
    def relative_regret(self) -> float:
        """Expected regret ÷ predicted loss; 0 where nothing is lost."""
        return self._relative(self.regret.mean)

    @property
    def relative_high(self) -> float:
        """What the regret does not exceed in nine of ten draws ÷ predicted loss; 0 where nothing is lost."""
        return self._relative(self.regret.high)

    def _relative(self, regret: float) -> float:
        loss = self.solved.proved.loss
        return regret / loss if regret > 0 and loss > 0 else 0.0


def look_ahead(beliefs: Beliefs, budgets: Sequence[int], *, seed: int, deadline: float) -> list[Outlook]:
    """Plan each budget, in bits for the planned layers, and judge it on the same draws of the losses."""
    found = []
    for budget in budgets:
        solved = solve_plan(beliefs.classes, beliefs.curves, budget, deadline=deadline)
        found.append(Outlook(solved, expected_regret(beliefs.classes, beliefs.curves, solved, beliefs.uncertainty, seed=seed)))
    return found


def cells_that_matter(beliefs: Beliefs, outlooks: Sequence[Outlook], count: int) -> NDArray[np.bool_]:
    """The open cells whose exact numbers are worth most to the plans, bool (layers, formats) with at most ``count`` of them.

    The worth of a group's format is the sum over the budgets of ``information_values`` at the budget's price, each relative
    to the plan's loss; tied layers share it, and are measured together. A cell that is worth nothing to any plan is left out.
    """
    worth = np.zeros(beliefs.classes.legal.shape)
    covariance = beliefs.covariance
    for outlook in outlooks:
        loss = outlook.solved.proved.loss
        priced = np.where(beliefs.classes.legal, beliefs.curves.loss + outlook.solved.price * beliefs.classes.sizes, np.inf)
        worth += information_values(priced, covariance) / (loss if loss > 0 else 1.0)
    members = np.zeros(worth.shape)
    np.add.at(members, beliefs.classes.group_of_layer, beliefs.open_cells)
    share = (worth / np.maximum(members, 1.0))[beliefs.classes.group_of_layer]
    share = np.where(beliefs.open_cells, share, 0.0)
    order = np.argsort(-share, axis=None, kind="stable")[:count]
    chosen = np.zeros(share.size, dtype=bool)
    chosen[order] = share.ravel()[order] > 0
    return chosen.reshape(share.shape)
