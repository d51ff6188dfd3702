"""Frontiers: plans of every size from one pass over the curves, each point with its lower bound."""

import time
from collections.abc import Iterable
from itertools import product

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from planner.build import Classes, GroupCurves
from planner.schemas.frontiers import FrontierDocument, FrontierPoint, FrontierRequest, UniformPoint
from planner.schemas.sizes import Size
from planner.services.planning_inputs import Selected
from planner.services.posing import provenance_of, size_of, unit_of
from planner.services.preparing import prepare
from planner.services.whole_problem import WholeProblem
from planner.solving import BITS_PER_MEGABYTE, pose_problem
from sensitivity.formats.abstract import AbstractFormat
from solvers import Frontier, even_budgets, frontier, knee, proved


def make_frontier(session: Session, request: FrontierRequest) -> FrontierDocument:
    """Size against predicted loss, from the smallest plan to the one that loses least.

    Raises:
        NotFoundError: no such model or probe setting.
        InvalidRequestError: rules that contradict each other or the model, cells that nobody measured.
    """
    prepared = prepare(session, request)
    selected, inputs = prepared.selected, prepared.inputs
    whole = prepared.problem(context=request.context, batch=request.batch)
    began = time.perf_counter()
    problem = pose_problem(whole.classes, whole.curves, 0)
    budgets = even_budgets(problem, request.points)
    found = proved(problem, budgets) if request.proven else frontier(problem, budgets)
    seconds = time.perf_counter() - began
    return FrontierDocument(
        model=selected.model.id,
        model_name=selected.model.name,
        runtime=request.runtime,
        formats=[fmt.name for fmt in whole.posed.classes.formats],
        probe=inputs.setting.probe,
        unit=unit_of(inputs.setting),
        points=_points(request, selected, whole, found),
        knee=knee(found),
        uniforms=_uniforms(request, selected, whole),
        notes=list(whole.curves.notes),
        solve_seconds=seconds,
        provenance=provenance_of(
            selected, inputs.setting, kv_setting=None if prepared.caches is None else prepared.caches.setting
        ),
        shrunk=inputs.shrinkage and inputs.shrunk is not None,
    )


def _points(request: FrontierRequest, selected: Selected, whole: WholeProblem, found: Frontier) -> list[FrontierPoint]:
    errors = _standard_errors(whole.curves, found)
    points = []
    for j, choice in enumerate(found.choices):
        size = _size(request, selected, whole, choice)
        gap = float(found.gaps[j])
        points.append(
            FrontierPoint(
                budget_layer_bits=int(found.budgets[j]),
                layer_bits=size.layer_bits,
                effective_bits=size.effective_bits,
                file_bytes=size.file_bytes,
                kv_bytes=size.kv_bytes,
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


def _size(request: FrontierRequest, selected: Selected, whole: WholeProblem, choice: NDArray[np.int64]) -> Size:
    return size_of(
        whole.weight_bits(choice),
        selected.footprint,
        context=request.context,
        batch=request.batch,
        workspace=request.workspace_bytes,
        cache_bits=whole.cache_bits(choice),
    )


def _uniforms(request: FrontierRequest, selected: Selected, whole: WholeProblem) -> list[UniformPoint]:
    """Every format that all weights may take, with every one that all caches may take where they are planned."""
    weights, caches = whole.posed.classes, whole.caches
    pairs: Iterable[tuple[int, int | None]] = ((column, None) for column in _common(weights))
    if caches is not None:
        pairs = product(_common(weights), _common(caches))
    points = []
    for column, cache in pairs:
        choice = np.full(len(whole.classes.groups), column, dtype=np.int64)
        if cache is not None:
            choice[whole.weight_groups :] = len(weights.formats) + cache
        size = _size(request, selected, whole, choice)
        points.append(
            UniformPoint(
                format=weights.formats[column].name,
                kv_format=None if caches is None or cache is None else caches.formats[cache].name,
                effective_bits=size.effective_bits,
                file_bytes=size.file_bytes,
                resident_bytes=size.resident_bytes,
                predicted_loss=float(whole.curves.loss[np.arange(len(choice)), choice].sum()),
            )
        )
    return points


def _common(classes: Classes[AbstractFormat]) -> list[int]:
    """Columns that every group may take."""
    return [column for column, legal in enumerate(classes.legal.T) if classes.groups and legal.all()]
