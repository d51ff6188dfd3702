"""What a plan says against itself: the luck of its cells, and how far the losses of its layers add up."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from planner.build import Classes, GroupCurves
from planner.schemas.caveats import Confidence, Correction
from planner.services.planning_inputs import Inputs
from planner.services.posing import Posed
from planner.solving.caution import spread_of
from planner.solving.shrinkage import Shrunk
from planner.storage.tables import ProbeSettingRow

METHOD: Final = "empirical Bayes, log space, layers × formats"

LEAST_SHARE: Final = 0.05
"""Of the weights or of the predicted loss, in layers of fewer bits: with less a plan stands or falls with the others."""

LEAST_ADDITIVE_BITS: Final = 4
"""Sums of single layers' losses predict mixes of 4 bits and more within percents; with 2- and 3-bit layers in the mix an
additive model that was fitted to {2, 3, 4, 6, 8} bits missed by half at 3.2 bits, and by 0.02 without them."""


def correction(posed: Posed, shrunk: Shrunk | None, choice: NDArray[np.int64]) -> Correction | None:
    """The expected loss of the chosen cells; ``None`` where nothing was shrunk."""
    if shrunk is None:
        return None
    return Correction(
        loss=loss_of(posed.expected, choice),
        standard_error=spread_of(posed.expected.standard_error, choice),
        uncorrected_loss=loss_of(posed.measured, choice),
        method=METHOD,
        cells=int(shrunk.changed.sum()),
        noise=shrunk.noise,
        spread=shrunk.spread,
    )


def loss_of(curves: GroupCurves, choice: NDArray[np.int64]) -> float:
    """Sum of the losses of the chosen cells."""
    return float(curves.loss[np.arange(len(choice)), choice].sum())


def confidence(classes: Classes, curves: GroupCurves, choice: NDArray[np.int64], setting: ProbeSettingRow) -> Confidence:
    """Whether the sum over layers is to be trusted: not below 4 bits, and not for losses that do not add up."""
    reasons = []
    if not setting.additive:
        reasons.append(f"losses of {setting.probe} are not made to be added: plan with fisher or kl")
    low = np.array([fmt.num_bits < LEAST_ADDITIVE_BITS for fmt in classes.formats], dtype=bool)[choice]
    weights, losses = _shares(classes, curves, choice, low) if low.any() else (0.0, 0.0)
    if max(weights, losses) >= LEAST_SHARE:
        layers = classes.group_layers
        reasons.append(
            f"{layers[low].sum()} of {layers.sum()} layers are below {LEAST_ADDITIVE_BITS} bits "
            f"({weights:.0%} of the weights and {losses:.0%} of the predicted loss): there losses of layers do not simply add "
            f"up. Evaluate the plan before it is used"
        )
    return Confidence(additivity="low" if reasons else "usual", reasons=reasons)


def _shares(classes: Classes, curves: GroupCurves, choice: NDArray[np.int64], part: NDArray[np.bool_]) -> tuple[float, float]:
    """What some groups have of the weights and of the predicted loss."""
    losses = np.maximum(curves.loss[np.arange(len(choice)), choice], 0.0)
    return _share(classes.group_weights, part), _share(losses, part)


def _share(amounts: NDArray[np.float64], part: NDArray[np.bool_]) -> float:
    """What some groups have of the whole; 0 of nothing."""
    whole = float(amounts.sum())
    return float(amounts[part].sum()) / whole if whole > 0 else 0.0


def notes_on_luck(inputs: Inputs) -> list[str]:
    """That the winner's curse is not corrected, where errors are known and yet say nothing of it; steps guard against it."""
    if inputs.shrunk is not None or inputs.step is not None or not (inputs.measured.standard_error > 0).any():
        return []
    return [
        f"the errors of these {inputs.setting.probe} cells do not tell luck from truth: the loss of a chosen plan may be too low"
    ]
