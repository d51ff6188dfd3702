"""Drift between two checkpoints: measured once by a job, judged against the rounding errors of formats whenever it is read."""

from collections.abc import Sequence

import numpy as np
from sqlalchemy.orm import Session

from planner.curve_tools.movement import DEFAULT_RATIO
from planner.errors import InvalidRequestError
from planner.schemas.drifts import DriftDocument, LayerDrift, SubmitDrift
from planner.schemas.jobs import Job
from planner.services import jobs
from planner.services.movement import Movement, movement, rounding_errors_id
from planner.services.planning_inputs import find_model, load_layers
from planner.storage.cells import measured_formats
from planner.storage.drifts import load_drift
from planner.storage.tables import ModelRow
from sensitivity.checkpoint.description import Layer, SourceKind
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import all_formats, get_format

DRIFT = "drift"
_STORED_ALREADY = "these two checkpoints were compared before"


def submit_drift(session: Session, key: str, request: SubmitDrift) -> Job:
    """Queue the comparison of a model with a reference. If both were compared before, the job is done at once.

    Raises:
        NotFoundError: no such model.
        InvalidRequestError: both are the same, one of them is no safetensors, or they have no layer of one name and shape.
    """
    model, reference = find_model(session, key), find_model(session, request.reference)
    _check_comparable(session, model, reference)
    payload = {"reference": reference.id}
    if load_drift(session, model.id, reference.id):
        return jobs.submit_done(session, kind=DRIFT, model_id=model.id, payload=payload, reason=_STORED_ALREADY)
    same = jobs.find_unfinished(session, kind=DRIFT, model_id=model.id, payload=payload)
    return same or jobs.submit(session, kind=DRIFT, model_id=model.id, payload=payload)


def get_drift(
    session: Session, key: str, reference: str, *, formats: Sequence[str] | None = None, ratio: float = DEFAULT_RATIO
) -> DriftDocument:
    """How far each layer moved, and which of its cells can be taken over.

    Args:
        session: where to read.
        key: id or name of the model that moved.
        reference: id or name of the model that it is compared with.
        formats: formats to judge; by default those whose rounding errors are known of the reference.
        ratio: how far below its rounding error the change of a layer must be.

    Raises:
        NotFoundError: no such model.
        UnmeasuredError: the two were not compared yet.
        UnknownFormatError: no such format.
    """
    model, other = find_model(session, key), find_model(session, reference)
    layers = load_layers(session, model.id)
    if formats is None:
        seen = {row.format_identity for row in measured_formats(session, other.id, rounding_errors_id())}
        chosen = [fmt for fmt in all_formats() if fmt.identity in seen]
    else:
        chosen = list(dict.fromkeys(get_format(name) for name in formats))
    found = movement(session, model, other, layers, chosen, ratio=ratio)
    items = [_layer(layer, found, i, chosen) for i, layer in enumerate(layers)]
    return DriftDocument(
        model=model.id,
        reference=other.id,
        ratio=ratio,
        formats=[fmt.name for fmt in chosen],
        moved_layers=None if any(item.moved is None for item in items) else sum(bool(item.moved) for item in items),
        items=items,
    )


def _check_comparable(session: Session, model: ModelRow, reference: ModelRow) -> None:
    if model.id == reference.id:
        msg = f"{model.name!r} was asked to be compared with itself: name two models"
        raise InvalidRequestError(msg)
    for row in (model, reference):
        if row.kind != SourceKind.SAFETENSORS:
            msg = f"{row.name!r} is no safetensors checkpoint, whose weights could be compared: register its safetensors instead"
            raise InvalidRequestError(msg)
    shapes = {(layer.name, layer.shape) for layer in load_layers(session, reference.id)}
    if not any((layer.name, layer.shape) in shapes for layer in load_layers(session, model.id)):
        msg = f"{model.name!r} and {reference.name!r} have no layer of one name and shape: compare a model with its own fine-tune"
        raise InvalidRequestError(msg)


def _layer(layer: Layer, found: Movement, i: int, formats: Sequence[CandidateFormat]) -> LayerDrift:
    errors = found.rounding_error[i][np.isfinite(found.rounding_error[i])]
    moved = [fmt.name for fmt, kept in zip(formats, found.unmoved[i], strict=True) if not kept]
    undecided = bool(found.undecided[i].any()) or not (formats or found.change[i] == 0)
    return LayerDrift(
        layer=layer.name,
        kind=layer.kind,
        block=layer.block,
        change=None if np.isnan(found.change[i]) else float(found.change[i]),
        least_rounding_error=float(errors.min()) if errors.size else None,
        moved=None if undecided else moved,
    )
