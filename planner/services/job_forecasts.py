"""How long a job will compute: by what the last job like it took, in proportion to its work."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from planner.jobs.job import JobState
from planner.storage.tables import CalibrationSetRow, JobRow

_SAME = ("probe", "probe_parameters", "rounding")
_SAME_EVALUATION = ("rounding",)
_LOOKED_AT = 50


def forecast_seconds(session: Session, kind: str, model_id: str, payload: Mapping[str, Any]) -> float | None:
    """Seconds that one worker will compute for the units of a sensitivity job, loading the model aside.

    The rate is that of the newest job of the same model, probe, hyper-parameters and rounding method that succeeded: seconds for
    each cell and token of text, of whatever machines worked on it. A probe takes some time whatever the number of formats is,
    so the forecast of a job of fewer cells is a little short.

    Returns:
        ``None`` while no such job has been done.
    """
    alike = _newest_alike(session, kind, model_id, payload, _SAME)
    if alike is None:
        return None
    done, spent = alike
    work = _work(session, done)
    return spent * _work(session, payload) / work if work else None


def evaluation_seconds(session: Session, model_id: str, payload: Mapping[str, Any]) -> float | None:
    """Seconds that one worker will compute for the units of an evaluation, loading the model aside.

    The rate is that of the newest evaluation of the same model and rounding method: seconds for each assignment, the reference
    among them, and token of held-out text.

    Returns:
        ``None`` while no such evaluation has been done.
    """
    alike = _newest_alike(session, "evaluation", model_id, payload, _SAME_EVALUATION)
    if alike is None:
        return None
    done, spent = alike
    work = _evaluated(session, done)
    return spent * _evaluated(session, payload) / work if work else None


def _newest_alike(
    session: Session, kind: str, model_id: str, payload: Mapping[str, Any], same: Sequence[str]
) -> tuple[Mapping[str, Any], float] | None:
    """Payload and seconds of the newest job that succeeded as a whole and agrees in these fields."""
    query = select(JobRow.id, JobRow.summary, JobRow.unit_seconds).where(
        JobRow.model_id == model_id,
        JobRow.kind == kind,
        JobRow.state == JobState.SUCCEEDED.value,
        JobRow.unit_seconds > 0.0,
        JobRow.failed == 0,
    )
    newest = session.execute(query.order_by(JobRow.finished_at.desc()).limit(_LOOKED_AT))
    for job, summary, spent in newest.all():
        if all(summary.get(name) == payload.get(name) for name in same):
            done: Mapping[str, Any] | None = session.scalar(select(JobRow.payload).where(JobRow.id == job))
            return None if done is None else (done, spent)  # its model was deleted meanwhile
    return None


def _evaluated(session: Session, payload: Mapping[str, Any]) -> int:
    """Passes over the text, times its tokens; 0 where the text is gone."""
    text = session.get(CalibrationSetRow, payload["calibration_id"])
    return (1 + len(payload["assignments"])) * text.held_out_sequences * text.held_out_length if text else 0


def _work(session: Session, payload: Mapping[str, Any]) -> int:
    """Cells, times tokens where there is text."""
    cells = payload.get("cells")
    count = len(payload["layers"]) * len(payload["formats"]) if cells is None else sum(map(len, cells.values()))
    text = session.get(CalibrationSetRow, payload["calibration_id"]) if payload["calibration_id"] else None
    return count * (text.sequences * text.sequence_length if text else 1)
