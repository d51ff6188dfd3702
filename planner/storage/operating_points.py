"""The repository of operating points: plans that cells were measured around."""

import hashlib
import json
from collections.abc import Mapping
from typing import Final

from sqlalchemy.orm import Session

from planner.curves import OperatingPoint
from planner.storage.tables import OperatingPointRow, utc_now
from sensitivity.statistics import Statistics, mean_and_error

AROUND: Final = "around"
"""Parameter of a setting that holds the digest of the plan that its cells are changes from."""


def digest(layers: Mapping[str, str]) -> str:
    """What a setting calls an assignment, layer to format: half of a SHA-256 over its sorted JSON."""
    return hashlib.sha256(json.dumps(dict(layers), sort_keys=True).encode()).hexdigest()[:32]


def store_point(
    session: Session,
    model_id: str,
    setting_id: str,
    layers: Mapping[str, str],
    statistics: Statistics,
    *,
    job_id: str | None = None,
) -> None:
    """Keep the loss of a plan, in place of what was known of it.

    Call it after ``store_cells`` of the same setting, in the same transaction.

    Args:
        session: the caller's transaction.
        model_id: fingerprint of the model.
        setting_id: ``ProbeSetting.id``, whose parameters hold the digest of the assignment.
        layers: the assignment.
        statistics: (3,) of the plan's loss.
        job_id: the job that measured it.
    """
    mean, error = (float(x) for x in mean_and_error(statistics))
    row = session.get(OperatingPointRow, (model_id, setting_id)) or OperatingPointRow(model_id=model_id, setting_id=setting_id)
    row.layers, row.loss, row.samples = dict(layers), mean, float(statistics[0])
    row.standard_error = error if error == error else None  # noqa: PLR0124  (NaN: spread unknown)
    row.job_id, row.measured_at = job_id, utc_now()
    session.add(row)
    session.flush()


def load_point(session: Session, model_id: str, setting_id: str) -> OperatingPoint | None:
    """The plan that the cells of a setting were measured around, if it is one of that kind."""
    row = session.get(OperatingPointRow, (model_id, setting_id))
    if row is None:
        return None
    error = float("nan") if row.standard_error is None else row.standard_error
    return OperatingPoint(row.layers, row.loss, error)
