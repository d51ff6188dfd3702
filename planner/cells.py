"""Measurements as planning keeps them: how they were made, and one (layer, format) each."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from sensitivity.statistics import CellStatus


@dataclass(frozen=True)
class ProbeSetting:
    """One way to measure: everything of a cell's identity but model, layer and format.

    Attributes:
        probe: name of the probe.
        code_version: of the probe's numbers.
        rounding: rounding method.
        rounding_version: of the rounding method's numbers.
        calibration_id: fingerprint of the calibration set; ``None`` for a probe without data.
        parameters: hyper-parameters that change the numbers.
        in_nats: the loss is in nats per token. A fact of (probe, code version), so no part of the identity.
        additive: losses of different layers may be added. Likewise.
    """

    probe: str
    code_version: int
    rounding: str
    rounding_version: int
    calibration_id: str | None
    parameters: Mapping[str, float | int | str] = field(default_factory=dict)
    in_nats: bool = False
    additive: bool = False

    @cached_property
    def id(self) -> str:
        """SHA-256 of the canonical JSON of the six identifying fields (sorted keys, no spaces, shortest float digits)."""
        identity = {
            "calibration_id": self.calibration_id,
            "code_version": self.code_version,
            "parameters": dict(self.parameters),
            "probe": self.probe,
            "rounding": self.rounding,
            "rounding_version": self.rounding_version,
        }
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Cell:
    """What is known of one layer in one format, in one probe setting.

    Attributes:
        layer: name of the layer.
        format: name of the candidate format.
        format_identity: ``CandidateFormat.identity``.
        status: only a ``MEASURED`` cell has a number.
        loss: in the probe's unit; ``None`` unless measured.
        standard_error: of the loss; ``None`` where the spread is unknown.
        samples: n of the sufficient statistics.
        total: Σx; ``None`` where not finite.
        total_squares: Σx²; ``None`` where not finite.
        drift: ‖ΔW‖/‖W‖ of the layer since the model that the cell was taken over from; ``None`` for a cell measured on its own.
    """

    layer: str
    format: str
    format_identity: str
    status: CellStatus
    loss: float | None
    standard_error: float | None
    samples: float
    total: float | None
    total_squares: float | None
    drift: float | None = None

    def __post_init__(self) -> None:
        if (self.status is CellStatus.MEASURED) != (self.loss is not None):
            msg = (
                f"{self.layer} in {self.format}: a cell has a loss if and only if it is measured; got {self.status}, {self.loss}"
            )
            raise ValueError(msg)
        numbers = (self.loss, self.standard_error, self.samples, self.total, self.total_squares, self.drift)
        if not all(number is None or math.isfinite(number) for number in numbers):
            msg = f"{self.layer} in {self.format}: {numbers} are not all finite; give None and a status instead"
            raise ValueError(msg)
