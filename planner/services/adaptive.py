"""Adaptive measuring: exact cells where the plans of the asked budgets hang on them, and no more.

The state is the cells in the database: a step reads them and says what to measure next. Whoever runs the loop may die at any
moment; the same question goes on where the cells, and the units of an unfinished job, left off.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from planner.build import Classes
from planner.curves import Curves
from planner.errors import InvalidRequestError
from planner.measuring import setting_of
from planner.schemas.adaptive import AdaptiveRequest, AdaptiveStep, BudgetOutlook
from planner.schemas.jobs import SubmitSensitivity
from planner.schemas.links import LinkedProbes, LinkFigures, LinkRequest
from planner.services.calibrations import find_calibration
from planner.services.expected_curves import expected_curves
from planner.services.linked_curves import LinkedCurves, link_curves, pairs_of
from planner.services.links import figures, find_source, same_unit
from planner.services.planning_inputs import Inputs, Selected, select_layers
from planner.services.posing import legal_classes, pose
from planner.solving import check_ceiling, check_floor
from planner.solving.hanging_cells import Beliefs, Outlook, cells_that_matter, look_ahead
from planner.solving.information import Uncertainty
from planner.storage.cells import load_curves, measured_formats
from planner.storage.tables import ProbeSettingRow
from sensitivity.formats.registry import resolve_format
from sensitivity.links.sampling import stratified_sample
from sensitivity.rounding_facts import get_rounding_facts
from sensitivity.statistics import CellStatus

SOURCE: Final = "fisher"
"""The cheap probe, unless the request names one."""
FIRST_SAMPLE: Final = 20
"""Cells that a first link is fitted on."""


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """What is stored for a question.

    Attributes:
        selected: the planned layers.
        source: setting of the cheap curves.
        same_unit: cheap and exact losses have one unit.
        target_id: id of the setting of the exact cells.
        job: what a job for more of them is told, without cells.
        cheap: the cheap curves, shrunk over all layers of the model where the question and the probe allow it.
        exact: the exact cells, same layers and formats.
        classes: layer groups; legal by runtime and rules.
    """

    selected: Selected
    source: ProbeSettingRow
    same_unit: bool
    target_id: str
    job: dict[str, Any]
    cheap: Curves
    exact: Curves
    classes: Classes

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Cells that a plan may use and that an exact measurement could change, whether it was made or not."""
        legal: NDArray[np.bool_] = self.classes.legal[self.classes.group_of_layer]
        usable: NDArray[np.bool_] = legal & (self.cheap.status == CellStatus.MEASURED) & (np.nan_to_num(self.cheap.loss) != 0)
        return usable

    @property
    def open(self) -> NDArray[np.bool_]:
        """Those that nobody asked for exactly. One that no token reached, or that has no number, is what it will be next time."""
        found: NDArray[np.bool_] = self.usable & (self.exact.status == "")
        return found


def next_step(session: Session, request: AdaptiveRequest) -> AdaptiveStep:
    """Where the question stands, and which cells to measure next.

    First a sample that is spread over formats and losses, until a link can be fitted. Then: link the cheap curves to the exact
    cells, plan each budget exactly, ask what the plans may lose within the errors of the cells that are not exact, and propose
    those whose exact numbers are worth most. The same stored cells give the same step.

    Raises:
        NotFoundError: no such model, setting or calibration set.
        InvalidRequestError: rules that contradict each other or the model, or probes that cannot be linked.
        UnmeasuredError: the cheap curves are not measured.
        LinkError: too few cells in common, or losses that foretell nothing of the exact ones.
        BudgetError: below the floor or above the ceiling, with the limits.
    """
    known = _load(session, request)
    first = _first_sample(known, request)
    if first.any():
        return _step(known, next_cells=first)
    linked = link_curves(known.cheap, known.exact, same_unit=known.same_unit, seed=request.seed)
    beliefs = _beliefs(known, linked)
    budgets = [_budget_bits(beliefs, known, request, number) for number in range(len(request.budgets))]
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


def _load(session: Session, request: AdaptiveRequest) -> _Known:
    if request.kv_formats is not None:
        msg = "adaptive measuring is of weights: leave out kv_formats, and measure caches with the probe kv_cache"
        raise InvalidRequestError(msg)
    selected = select_layers(session, request.model, request)
    model = selected.model
    probes = LinkedProbes(
        source=request.probe or SOURCE, target=request.target, source_setting=request.setting, rounding=request.rounding
    )
    source = find_source(session, model, probes)
    calibration = source.calibration_id
    if request.calibration is not None:
        calibration = find_calibration(session, request.calibration).id
        _check_text(source, calibration)
    job = {"probe": request.target, "rounding": source.rounding, "calibration": calibration, "seed": request.seed}
    target = setting_of({**job, "calibration_id": calibration, "probe_parameters": {}})
    names = request.formats
    if names is None:
        names = [row.format for row in measured_formats(session, model.id, source.id)]
    formats = sorted(set(map(resolve_format, names)), key=lambda fmt: (fmt.num_bits, fmt.name))
    cheap = load_curves(session, model.id, source.id, formats).with_exact_formats(model.dtype)
    cheap = expected_curves(source.probe, cheap)[0] if request.shrinkage else cheap
    layers = [layer.name for layer in selected.layers]
    places = {name: place for place, name in enumerate(cheap.layers)}
    cheap = cheap.part([places[name] for name in layers], range(len(formats)))
    exact = load_curves(session, model.id, target.id, formats, layers)
    classes = legal_classes(selected, request, [fmt.name for fmt in formats], Inputs(source, cheap))
    return _Known(selected, source, same_unit(source, target), target.id, job, cheap, exact, classes)


def _check_text(source: ProbeSettingRow, calibration: str) -> None:
    """A method that looks at inputs rounds otherwise on another text."""
    if get_rounding_facts(source.rounding).needs_inputs and calibration != source.calibration_id:
        msg = f"rounding {source.rounding!r} looks at the layers' inputs: the exact cells need the text of the cheap curves"
        raise InvalidRequestError(msg, calibration=source.calibration_id)


def _first_sample(known: _Known, request: AdaptiveRequest) -> NDArray[np.bool_]:
    """Cells that are missing of the sample for a first link; none where enough cells are exact already."""
    if len(pairs_of(known.cheap, known.exact)) >= FIRST_SAMPLE:
        return np.zeros_like(known.open)
    size = FIRST_SAMPLE if request.cells is None else min(FIRST_SAMPLE, request.cells)
    return stratified_sample(known.usable, known.cheap.loss, size, seed=request.seed) & known.open


def _beliefs(known: _Known, linked: LinkedCurves) -> Beliefs:
    """The linked curves over the layer groups, and how far measuring would change them."""
    posed = pose(known.classes, Inputs(known.source, linked.curves))
    error = np.where(known.open, np.nan_to_num(linked.curves.standard_error, nan=0.0), 0.0)
    both = known.open[:, :, None] & known.open[:, None, :]
    uncertainty = Uncertainty(linked.curves.loss, error, np.where(both, linked.covariance, 0.0))
    return Beliefs(posed.classes, posed.curves, known.open, uncertainty)


def _budget_bits(beliefs: Beliefs, known: _Known, request: AdaptiveRequest, number: int) -> int:
    budget, footprint = request.budgets[number].budget(), known.selected.footprint
    check_floor(beliefs.classes, budget, footprint)
    check_ceiling(beliefs.classes, budget, footprint)
    return budget.layer_bits(footprint)


def _decide(
    known: _Known, beliefs: Beliefs, outlooks: list[Outlook], request: AdaptiveRequest
) -> tuple[Literal["stable", "spent", "exact"] | None, NDArray[np.bool_]]:
    """Why to stop, or the cells to go on with."""
    nothing = np.zeros_like(known.open)
    if all(outlook.relative_high <= request.tolerance for outlook in outlooks):
        return "stable", nothing
    left = request.batch if request.cells is None else request.cells - int((known.usable & ~known.open).sum())
    if left <= 0:
        return "spent", nothing
    chosen = cells_that_matter(beliefs, outlooks, min(request.batch, left))
    return (None, chosen) if chosen.any() else ("exact", nothing)


def _outlook(known: _Known, beliefs: Beliefs, request: AdaptiveRequest, number: int, outlook: Outlook) -> BudgetOutlook:
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
    known: _Known,
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
        exact_cells=int((known.usable & ~known.open).sum()),
        open_cells=int(known.open.sum()),
        link=link,
        plans=plans or [],
        finished=finished,
        next=_job(known, next_cells) if next_cells.any() else None,
    )


def _job(known: _Known, cells: NDArray[np.bool_]) -> SubmitSensitivity:
    """The job that measures these cells."""
    names = [fmt.name for fmt in known.cheap.formats]
    rows = {known.cheap.layers[i]: [names[k] for k in np.flatnonzero(cells[i])] for i in np.flatnonzero(cells.any(axis=1))}
    formats = [names[k] for k in np.flatnonzero(cells.any(axis=0))]
    return SubmitSensitivity.model_validate({**known.job, "model": known.selected.model.id, "formats": formats, "cells": rows})
