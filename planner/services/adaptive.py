"""Adaptive measuring: exact cells where the plans of the asked budgets hang on them, and no more.

The state is the cells in the database: a step reads them and says what to measure next. Whoever runs the loop may die at any
moment; the same question goes on where the cells, and the units of an unfinished job, left off.
"""

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from planner.schemas.adaptive import AdaptiveRequest, AdaptiveStep, BudgetOutlook
from planner.schemas.jobs import SubmitSensitivity
from planner.schemas.links import LinkFigures, LinkRequest
from planner.services.adaptive_question import SOURCE, Known, budget_bits, check_pairs, check_question, load_known
from planner.services.linked_curves import LinkedCurves, link_curves, pairs_of
from planner.services.links import figures
from planner.services.planning_inputs import Inputs
from planner.services.posing import pose
from planner.solving.hanging_cells import Beliefs, Outlook, cells_that_matter, look_ahead
from planner.solving.information import Uncertainty
from sensitivity.links.pairs import LEAST_PAIRS
from sensitivity.links.sampling import stratified_sample

FIRST_SAMPLE: Final = 20
"""Cells that a first link is fitted on."""


def next_step(session: Session, request: AdaptiveRequest) -> AdaptiveStep:
    """Where the question stands, and which cells to measure next.

    First a sample that is spread over formats and losses, until a link can be fitted. Then: link the cheap curves to the exact
    cells, plan each budget exactly, ask what the plans may lose within the errors of the cells that are not exact, and propose
    those whose exact numbers are worth most. The same stored cells give the same step. What is wrong with the question is said
    before the first cells are asked for.

    Raises:
        NotFoundError: no such model, setting or calibration set.
        InvalidRequestError: rules that contradict each other or the model, probes that cannot be linked, or too few cells for a
            link even if all are measured.
        UnmeasuredError: the cheap curves are not measured, or not of all layers and formats.
        LinkError: too few of the measured cells have a number, or losses that foretell nothing of the exact ones.
        BudgetError: below the floor or above the ceiling, with the limits.
    """
    known = load_known(session, request)
    check_question(known, request)
    first = _first_sample(known, request)
    if first.any():
        return _step(known, next_cells=first)
    check_pairs(known)
    linked = link_curves(known.cheap, known.exact, same_unit=known.same_unit, seed=request.seed)
    beliefs = _beliefs(known, linked)
    budgets = [budget_bits(beliefs.classes, known, request, number) for number in range(len(request.budgets))]
    outlooks = look_ahead(beliefs, budgets, seed=request.seed, deadline=request.deadline_seconds)
    finished, chosen = _decide(known, beliefs, outlooks, request)
    return _step(
        known,
        link=figures(linked.fit, pairs_of(known.cheap, known.exact)),
        plans=[_outlook(known, beliefs, request, number, outlook) for number, outlook in enumerate(outlooks)],
        finished=finished,
        next_cells=chosen,
    )


def link_request(request: AdaptiveRequest, step: AdaptiveStep) -> LinkRequest:
    """The link that keeps what a run has measured."""
    return LinkRequest(
        source=request.probe or SOURCE,
        target=request.target,
        source_setting=step.source,
        target_setting=step.target,
        rounding=request.rounding,
        shrinkage=request.shrinkage,
        seed=request.seed,
    )


def _first_sample(known: Known, request: AdaptiveRequest) -> NDArray[np.bool_]:
    """Cells that are missing of the sample for a first link; none where enough cells are exact already.

    Where too few of the sample turn out to have a number, others are asked for in their place.
    """
    pairs = len(pairs_of(known.cheap, known.exact))
    if pairs >= FIRST_SAMPLE:
        return np.zeros_like(known.open)
    size = FIRST_SAMPLE if request.cells is None else min(FIRST_SAMPLE, request.cells)
    missing = stratified_sample(known.usable, known.cheap.loss, size, seed=request.seed) & known.open
    if not missing.any() and pairs < LEAST_PAIRS:
        missing = stratified_sample(known.open, known.cheap.loss, size - pairs, seed=request.seed)
    return stratified_sample(missing, known.cheap.loss, _left(known, request), seed=request.seed)


def _left(known: Known, request: AdaptiveRequest) -> int:
    """How many exact cells may still be asked for."""
    left = int(known.open.sum())
    return left if request.cells is None else max(0, min(left, request.cells - known.exact_cells))


def _beliefs(known: Known, linked: LinkedCurves) -> Beliefs:
    """The linked curves over the layer groups, and how far measuring would change them."""
    posed = pose(known.classes, Inputs(known.source, linked.curves))
    error = np.where(known.open, np.nan_to_num(linked.curves.standard_error, nan=0.0), 0.0)
    both = known.open[:, :, None] & known.open[:, None, :]
    uncertainty = Uncertainty(linked.curves.loss, error, np.where(both, linked.covariance, 0.0))
    return Beliefs(posed.classes, posed.curves, known.open, uncertainty)


def _decide(
    known: Known, beliefs: Beliefs, outlooks: list[Outlook], request: AdaptiveRequest
) -> tuple[Literal["stable", "spent", "exact"] | None, NDArray[np.bool_]]:
    """Why to stop, or the cells to go on with."""
    nothing = np.zeros_like(known.open)
    if all(outlook.relative_high <= request.tolerance for outlook in outlooks):
        return "stable", nothing
    left = _left(known, request)
    if not left and known.open.any():
        return "spent", nothing
    chosen = cells_that_matter(beliefs, outlooks, min(request.batch, left))
    return (None, chosen) if chosen.any() else ("exact", nothing)


def _outlook(known: Known, beliefs: Beliefs, request: AdaptiveRequest, number: int, outlook: Outlook) -> BudgetOutlook:
    classes, proved = beliefs.classes, outlook.solved.proved
    of_layer = classes.group_of_layer
    return BudgetOutlook(
        budget=request.budgets[number],
        effective_bits=outlook.solved.size_bits / known.selected.footprint.parameters,
        predicted_loss=proved.loss,
        standard_error=proved.standard_error,
        regret=outlook.regret.mean,
        relative_regret=outlook.relative_regret,
        high_regret=outlook.regret.high,
        relative_high_regret=outlook.relative_high,
        formats={layer.name: classes.formats[int(proved.choice[of_layer[i]])].name for i, layer in enumerate(classes.layers)},
    )


def _step(
    known: Known,
    *,
    next_cells: NDArray[np.bool_],
    link: LinkFigures | None = None,
    plans: list[BudgetOutlook] | None = None,
    finished: Literal["stable", "spent", "exact"] | None = None,
) -> AdaptiveStep:
    return AdaptiveStep(
        model=known.selected.model.id,
        source=known.source.id,
        target=known.target_id,
        exact_cells=known.exact_cells,
        open_cells=int(known.open.sum()),
        link=link,
        plans=plans or [],
        finished=finished,
        next=_job(known, next_cells) if next_cells.any() else None,
    )


def _job(known: Known, cells: NDArray[np.bool_]) -> SubmitSensitivity:
    """The job that measures these cells."""
    names = [fmt.name for fmt in known.cheap.formats]
    rows = {known.cheap.layers[i]: [names[k] for k in np.flatnonzero(cells[i])] for i in np.flatnonzero(cells.any(axis=1))}
    formats = [names[k] for k in np.flatnonzero(cells.any(axis=0))]
    return SubmitSensitivity.model_validate({**known.job, "model": known.selected.model.id, "formats": formats, "cells": rows})
