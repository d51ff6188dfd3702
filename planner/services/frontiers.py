"""Frontiers: plans of every size from one pass over the curves, each point with its lower bound."""

import time

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from planner.build import GroupCurves
from planner.schemas.frontiers import FrontierDocument, FrontierPoint, FrontierRequest, UniformPoint
from planner.schemas.plans import Size
from planner.services.planning_inputs import Selected
from planner.services.posing import Posed, provenance_of, size_of, unit_of
from planner.services.preparing import prepare
from planner.solving import BITS_PER_MEGABYTE, pose_problem
from solvers import Frontier, even_budgets, frontier, knee, proved


def make_frontier(session: Session, request: FrontierRequest) -> FrontierDocument:
    """Size against predicted loss, from the smallest plan to the one that loses least.

    Raises:
        NotFoundError: no such model or probe setting.
        InvalidRequestError: rules that contradict each other or the model, cells that nobody measured.
    """
    prepared = prepare(session, request)
    selected, inputs, posed = prepared.selected, prepared.inputs, prepared.posed
    began = time.perf_counter()
    problem = pose_problem(posed.classes, posed.curves, 0)
    budgets = even_budgets(problem, request.points)
    found = proved(problem, budgets) if request.proven else frontier(problem, budgets)
    seconds = time.perf_counter() - began
    return FrontierDocument(
        model=selected.model.id,
        model_name=selected.model.name,
        runtime=request.runtime,
        formats=[fmt.name for fmt in posed.classes.formats],
        probe=inputs.setting.probe,
        unit=unit_of(inputs.setting),
        points=_points(request, selected, posed.curves, found),
        knee=knee(found),
        uniforms=_uniforms(request, posed, selected),
        notes=list(posed.curves.notes),
        solve_seconds=seconds,
        provenance=provenance_of(selected, inputs.setting),
        shrunk=inputs.shrinkage and inputs.shrunk is not None,
    )


def _points(request: FrontierRequest, selected: Selected, curves: GroupCurves, found: Frontier) -> list[FrontierPoint]:
    errors = _standard_errors(curves, found)
    points = []
    for j in range(len(found.budgets)):
        size = _size(request, selected, int(found.sizes[j]))
        gap = float(found.gaps[j])
        points.append(
            FrontierPoint(
                budget_layer_bits=int(found.budgets[j]),
                layer_bits=size.layer_bits,
                effective_bits=size.effective_bits,
                file_bytes=size.file_bytes,
                resident_bytes=size.resident_bytes,
                predicted_loss=float(found.losses[j]),
                standard_error=float(errors[j]),
                lower_bound=float(found.bounds[j]),
                gap=gap if np.isfinite(gap) else None,
                price_per_megabyte=float(found.multipliers[j]) * BITS_PER_MEGABYTE,
            )
        )
    return points


def _standard_errors(curves: GroupCurves, found: Frontier) -> NDArray[np.float64]:
    variance = np.square(curves.standard_error)
    rows = np.arange(variance.shape[0])
    errors: NDArray[np.float64] = np.sqrt(np.array([variance[rows, choice].sum() for choice in found.choices]))
    return errors


def _size(request: FrontierRequest, selected: Selected, bits: int) -> Size:
    return size_of(bits, selected.footprint, context=request.context, batch=request.batch, workspace=request.workspace_bytes)


def _uniforms(request: FrontierRequest, posed: Posed, selected: Selected) -> list[UniformPoint]:
    classes, curves = posed.classes, posed.curves
    usable = [column for column, legal in enumerate(classes.legal.T) if classes.groups and legal.all()]
    sizes = [_size(request, selected, int(classes.sizes[:, column].sum())) for column in usable]
    return [
        UniformPoint(
            format=classes.formats[column].name,
            effective_bits=size.effective_bits,
            file_bytes=size.file_bytes,
            resident_bytes=size.resident_bytes,
            predicted_loss=float(curves.loss[:, column].sum()),
        )
        for column, size in zip(usable, sizes, strict=True)
    ]
