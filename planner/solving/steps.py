"""From changes that were measured around a plan to curves that a next plan is made from: a short step away from it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from planner.curves import Curves, OperatingPoint
from sensitivity.statistics import CellStatus


@dataclass(frozen=True, slots=True)
class Step:
    """Changes around a plan, and how sure a change must be.

    Attributes:
        point: where they were measured.
        changes: as measured, zero without error in the format that the point has.
        errors: κ ≥ 0, standard errors that a change has to be better by.
    """

    point: OperatingPoint
    changes: Curves
    errors: float

    def guarded(self) -> Curves:
        """Losses whose sum over a plan is the loss of the point, the changes from it, and κ standard errors of each change.

        To stay costs nothing. So only changes that are surely better are made, and few enough that the quadratic model around
        the point still holds: a trust region whose radius the data set. The loss of the point is spread evenly over
        the layers, which no choice depends on. To stay costs nothing for an expert that saw no token either.
        """
        curves = self.changes
        error = np.where(np.isfinite(curves.standard_error), curves.standard_error, 0.0)
        own = [[self.point.layers.get(layer) == fmt.name for fmt in curves.formats] for layer in curves.layers]
        stays = np.array(own, dtype=bool).reshape(curves.status.shape)
        silent = stays & (curves.status == CellStatus.NO_TOKENS)
        status = np.where(silent, CellStatus.MEASURED.value, curves.status)
        change = np.where(silent, 0.0, curves.loss + self.errors * error)
        loss = change + self.point.loss / max(1, len(curves.layers))
        return replace(curves, loss=np.where(status == CellStatus.MEASURED, loss, np.nan), status=status)

    def taken(self, chosen: Mapping[str, str]) -> tuple[int, float]:
        """How many layers leave the point, and the measured sum of their changes, without what makes up for luck.

        Args:
            chosen: format of each layer, by names.
        """
        columns = {fmt.name: k for k, fmt in enumerate(self.changes.formats)}
        layers = self.changes.layers
        moved = [i for i, layer in enumerate(layers) if chosen[layer] != self.point.layers.get(layer)]
        return len(moved), float(sum(self.changes.loss[i, columns[chosen[layers[i]]]] for i in moved))
