"""How far layers moved since another checkpoint, and which of their cells are still the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from planner.curve_tools.movement import unmoved
from planner.errors import UnmeasuredError
from planner.measuring import setting_of
from planner.services.planning_inputs import load_layers
from planner.storage.cells import load_curves
from planner.storage.drifts import load_drift
from planner.storage.tables import ModelRow
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.probe_facts import WEIGHT_ERROR
from sensitivity.rounding_facts import RTN


@dataclass(frozen=True, slots=True, eq=False)
class Movement:
    """How far layers moved, beside the rounding errors that this is judged by.

    Attributes:
        change: ‖ΔW‖/‖W‖, float64 ``[layers]``; NaN where the two layers cannot be compared.
        rounding_error: t of the reference's layer, rounded to nearest, float64 ``[layers, formats]``; NaN where unknown.
        unmoved: cells that may be taken over, bool ``[layers, formats]``.
    """

    change: NDArray[np.float64]
    rounding_error: NDArray[np.float64]
    unmoved: NDArray[np.bool_]

    @property
    def undecided(self) -> NDArray[np.bool_]:
        """Cells of changed layers whose rounding error is unknown, bool ``[layers, formats]``."""
        return np.asarray((self.change > 0)[:, None] & np.isnan(self.rounding_error))


def movement(
    session: Session,
    model: ModelRow,
    reference: ModelRow,
    layers: Sequence[Layer],
    formats: Sequence[CandidateFormat],
    *,
    ratio: float,
) -> Movement:
    """How far these layers moved since the reference, judged against the rounding errors of these formats.

    Raises:
        UnmeasuredError: the two were not compared yet.
    """
    drift = load_drift(session, model.id, reference.id)
    if not drift:
        msg = (
            f"the weights of {model.name!r} were not compared with those of {reference.name!r} yet: "
            f"run `bitplan curves drift`, or POST /v1/models/{model.id}/drifts"
        )
        raise UnmeasuredError(msg, model=model.id, reference=reference.id)
    change = np.array([drift.get(layer.name) for layer in layers], dtype=np.float64)  # None becomes NaN
    there = {layer.name for layer in load_layers(session, reference.id)}
    rows = [i for i, layer in enumerate(layers) if layer.name in there]
    error = np.full((len(layers), len(formats)), np.nan)
    known = load_curves(session, reference.id, rounding_errors_id(), formats, [layers[i].name for i in rows])
    error[rows] = np.sqrt(known.loss)
    return Movement(change, error, unmoved(change, error, ratio=ratio))


def rounding_errors_id() -> str:
    """Id of the setting of relative squared rounding errors, to nearest."""
    payload: dict[str, Any] = {
        "probe": WEIGHT_ERROR.name,
        "probe_parameters": {},
        "rounding": RTN.name,
        "calibration_id": None,
        "seed": 0,
    }
    return setting_of(payload).id
