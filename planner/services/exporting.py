"""Exports of stored plans, checked against what the target can express."""

from sqlalchemy.orm import Session

from planner.errors import ExportError
from planner.exports.kv_cache import with_caches
from planner.exports.registry import get_exporter
from planner.exports.target import ExportedModel, Json
from planner.runtimes import get_runtime
from planner.schemas.plans import PlanDocument
from planner.services.planning_inputs import find_model, load_layers
from planner.services.plans import get_plan
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import resolve_format


def chosen_formats(document: PlanDocument) -> dict[str, CandidateFormat]:
    """Layer → candidate format of a plan."""
    return {choice.layer: resolve_format(choice.format) for choice in document.choices}


def export_plan(session: Session, plan_id: str, target: str | None = None) -> Json:
    """A plan in the words of a target; the plan's runtime names the default target.

    Raises:
        NotFoundError: no such plan.
        ExportError: unknown target, or a plan that the target cannot express (the message names layer and rule).
    """
    document = get_plan(session, plan_id)
    runtime = get_runtime(document.runtime)
    target = target or runtime.exports[0]
    if target not in runtime.exports:
        msg = f"runtime {runtime.name!r} does not load {target!r}: use one of {', '.join(runtime.exports)}"
        raise ExportError(msg, targets=list(runtime.exports))
    written = get_exporter(target).export(chosen_formats(document), exported_model(session, document), runtime)
    said = with_caches(written, document.kv, target=target, runtime=runtime)
    if target != "json" or not document.placement:
        return said
    return said | {"placement": {part.pool: part.layers for part in document.placement}}


def exported_model(session: Session, document: PlanDocument) -> ExportedModel:
    """What exports say of a plan's model."""
    model = find_model(session, document.model)
    return ExportedModel(
        fingerprint=model.id,
        source=model.source,
        architecture=model.architecture,
        dtype=model.dtype,
        layers=load_layers(session, model.id),
    )
