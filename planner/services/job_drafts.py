"""A job before it is queued: all that is to be known of it is found by reading alone, so that a forecast writes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from planner.cells import ProbeSetting
from planner.errors import InvalidRequestError
from planner.jobs.job import USUAL_TERMS, Terms
from planner.measuring import setting_of
from planner.schemas.jobs import SubmitSensitivity
from planner.services.asked_cells import asked_cells
from planner.services.calibrations import find_calibration
from planner.services.job_forecasts import forecast_seconds
from planner.services.job_memory import least_memory, memory_of
from planner.services.planning_inputs import find_model
from planner.services.reuse import take_over
from planner.storage.cells import load_curves
from planner.storage.tables import CalibrationSetRow
from sensitivity.cross_terms import refuse_too_many
from sensitivity.formats.abstract import FormatFamily
from sensitivity.probe_facts import get_facts
from sensitivity.rounding_facts import RTN, get_rounding_facts

SENSITIVITY = "sensitivity"
EVALUATION = "evaluation"
_NOTHING_MISSING = "every cell asked for is measured already, or taken over; set force to measure again"


@dataclass(frozen=True, slots=True)
class Draft:
    """A job that is sound and could be queued.

    Attributes:
        kind: which handler of the worker does it.
        model_id: fingerprint of a registered model.
        payload: what the handler is told.
        terms: how it is to be run.
        nothing: why there is nothing to do for it; ``None`` if there is.
    """

    kind: str
    model_id: str
    payload: Mapping[str, Any]
    terms: Terms = USUAL_TERMS
    nothing: str | None = None


def draft_sensitivity(session: Session, request: SubmitSensitivity, *, keep: bool = False) -> Draft:
    """The job that measures the cells which are missing; see ``jobs.submit_sensitivity``.

    Args:
        session: where to read; a write transaction if cells are kept.
        request: what is asked.
        keep: whether cells that are taken over from another model are stored.

    Raises:
        NotFoundError, UnmeasuredError, InvalidRequestError, UnknownFormatError, UnknownProbeError, UnsupportedShapeError,
            TooManyProductsError: as ``jobs.submit_sensitivity``.
    """
    model = find_model(session, request.model)
    if get_facts(request.probe).around_plan:
        msg = f"the probe {request.probe} measures around a plan: bitplan refine PLAN, or POST /v1/plans/{{plan}}/measure"
        raise InvalidRequestError(msg, probe=request.probe)
    found = asked_cells(session, model, request)
    _refuse_needless_rounding(request)
    payload: dict[str, Any] = {
        "probe": request.probe,
        "probe_parameters": dict(request.probe_parameters),
        "rounding": request.rounding,
        "calibration_id": _calibration(session, request),
        "seed": request.seed,
    }
    taken = take_over(session, model, request, payload, found, keep=keep)
    payload |= taken.added
    setting = setting_of(payload)
    curves = load_curves(session, model.id, setting.id, found.formats, [layer.name for layer in found.layers])
    known = (curves.status != "") | taken.cells
    listed = found.asked if request.force else found.asked & ~known
    missing = listed & found.storable
    if not missing.any():
        return Draft(SENSITIVITY, model.id, {**payload, "formats": [], "layers": []}, nothing=_NOTHING_MISSING)
    rows, columns = missing.any(axis=1), missing.any(axis=0)
    payload["formats"] = [found.formats[k].name for k in np.flatnonzero(columns)]
    payload["layers"] = [found.layers[i].name for i in np.flatnonzero(rows)]
    if not listed[np.ix_(rows, columns)].all():
        payload["cells"] = found.names(missing)
    payload |= memory_of(session, model, payload, request.streaming)
    if get_facts(request.probe).keeps_products:
        _refuse_too_many_products(session, payload, setting)
    terms = Terms(
        priority=request.priority,
        label=request.label,
        memory_bytes=least_memory(model, payload),
        forecast_seconds=forecast_seconds(session, SENSITIVITY, model.id, payload),
    )
    return Draft(SENSITIVITY, model.id, payload, terms)


def _refuse_needless_rounding(request: SubmitSensitivity) -> None:
    """The rounding method is part of a cell's identity, so it is one where it does not count."""
    rounds = get_facts(request.probe).formats is FormatFamily.WEIGHTS
    if not rounds and request.rounding != RTN.name:
        msg = f"the probe {request.probe} rounds no weights: leave rounding out"
        raise InvalidRequestError(msg)


def _calibration(session: Session, request: SubmitSensitivity) -> str | None:
    if get_facts(request.probe).needs_calibration:
        what = f"probe {request.probe!r}"
    elif get_rounding_facts(request.rounding).needs_inputs:
        what = f"rounding method {request.rounding!r}"
    else:
        return None
    if request.calibration is None:
        msg = f"{what} runs on text: name a calibration set (bitplan calibrations add, or POST /v1/calibrations)"
        raise InvalidRequestError(msg)
    return find_calibration(session, request.calibration).id


def _refuse_too_many_products(session: Session, payload: Mapping[str, Any], setting: ProbeSetting) -> None:
    sequences = session.get_one(CalibrationSetRow, payload["calibration_id"]).sequences
    draws = int(setting.parameters["draws"])
    refuse_too_many(layers=len(payload["layers"]), formats=len(payload["formats"]), sequences=sequences, draws=draws)
