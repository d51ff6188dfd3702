"""What is stored for a question of adaptive measuring, and what is wrong with the question before anything is spent on it."""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from planner.build import Classes
from planner.curves import Curves
from planner.errors import InvalidRequestError
from planner.measuring import setting_of
from planner.schemas.adaptive import AdaptiveRequest
from planner.schemas.links import LinkedProbes
from planner.services.calibrations import find_calibration
from planner.services.linked_curves import cheap_curves, known_exactly, pairs_of
from planner.services.links import find_source, same_unit
from planner.services.planning_inputs import Inputs, Selected, select_layers
from planner.services.posing import legal_classes, pose
from planner.solving import check_ceiling, check_floor
from planner.storage.cells import load_curves, measured_formats
from planner.storage.tables import ProbeSettingRow
from sensitivity.errors import LinkError
from sensitivity.formats.registry import resolve_format
from sensitivity.links.pairs import LEAST_PAIRS
from sensitivity.probe_facts import get_facts
from sensitivity.rounding_facts import get_rounding_facts
from sensitivity.statistics import CellStatus

SOURCE: Final = "fisher"
"""The cheap probe, unless the request names one."""


@dataclass(frozen=True, slots=True, eq=False)
class Known:
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

    @property
    def exact_cells(self) -> int:
        """Those that were asked for."""
        return int((self.usable & ~self.open).sum())


def load_known(session: Session, request: AdaptiveRequest) -> Known:
    """Read what is stored for a question.

    Raises:
        NotFoundError: no such model, setting or calibration set.
        InvalidRequestError: rules that contradict each other or the model, probes that cannot be linked, or no text for them.
        UnmeasuredError: the cheap curves are not measured.
    """
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
    if calibration is None and get_facts(request.target).needs_calibration:
        msg = f"{source.probe!r} runs without text and {request.target!r} needs one: name a calibration set for the exact cells"
        raise InvalidRequestError(msg)
    target = setting_of({**job, "calibration_id": calibration, "probe_parameters": {}})
    names = request.formats
    if names is None:
        names = [row.format for row in measured_formats(session, model.id, source.id)]
    formats = sorted(set(map(resolve_format, names)), key=lambda fmt: (fmt.num_bits, fmt.name))
    cheap = load_curves(session, model.id, source.id, formats).with_exact_formats(model.dtype)
    cheap = cheap_curves(source.probe, cheap, shrinkage=request.shrinkage)
    layers = [layer.name for layer in selected.layers]
    places = {name: place for place, name in enumerate(cheap.layers)}
    cheap = cheap.part([places[name] for name in layers], range(len(formats)))
    exact = load_curves(session, model.id, target.id, formats, layers)
    classes = legal_classes(selected, request, [fmt.name for fmt in formats], Inputs(source, cheap))
    return Known(selected, source, same_unit(source, target), target.id, job, cheap, exact, classes)


def _check_text(source: ProbeSettingRow, calibration: str) -> None:
    """A method that looks at inputs rounds otherwise on another text."""
    if get_rounding_facts(source.rounding).needs_inputs and calibration != source.calibration_id:
        msg = f"rounding {source.rounding!r} looks at the layers' inputs: the exact cells need the text of the cheap curves"
        raise InvalidRequestError(msg, calibration=source.calibration_id)


def check_question(known: Known, request: AdaptiveRequest) -> None:
    """Refuse budgets that no plan can keep, and what no exact cells make a link of: nothing is left to foretell by then.

    Raises:
        InvalidRequestError: fewer cells than a link needs, or limits of something else than bits.
        UnmeasuredError: cells that plans may use and nobody measured.
        BudgetError: below the floor or above the ceiling, with the limits.
    """
    exact = known_exactly(known.exact)
    loss, status = np.where(exact, known.exact.loss, known.cheap.loss), np.where(exact, known.exact.status, known.cheap.status)
    stored = Inputs(known.source, replace(known.cheap, loss=loss, status=status))
    offered = pose(known.classes, stored).classes
    for number in range(len(request.budgets)):
        budget_bits(offered, known, request, number)
    count, name = int(known.usable.sum()), known.selected.model.name
    if count < LEAST_PAIRS:
        msg = (
            f"plans of {name!r} may use {count} cells that have a loss, and {LEAST_PAIRS} exact ones are needed to foretell "
            f"others: plan more layers or formats, or measure all of them (bitplan measure {name} --probe {request.target})"
        )
        raise InvalidRequestError(msg, cells=count)


def check_pairs(known: Known) -> None:
    """Say what to do where the exact cells that were bought are no link, and no more may be bought.

    Raises:
        LinkError: they are too few.
    """
    pairs = len(pairs_of(known.cheap, known.exact))
    if pairs >= LEAST_PAIRS:
        return
    msg = f"{pairs} of {known.exact_cells} exact cells have a loss above zero by both probes, a link needs {LEAST_PAIRS}: "
    if known.open.any():
        msg += "allow more exact cells"
    else:
        command = f"bitplan plan {known.selected.model.name} --probe {known.job['probe']}"
        msg += f"none is left to measure, so plan with the exact ones alone ({command})"
    raise LinkError(msg)


def budget_bits(classes: Classes, known: Known, request: AdaptiveRequest, number: int) -> int:
    """What a budget leaves for the planned layers, in bits.

    Raises:
        InvalidRequestError: it is no single limit of bits.
        BudgetError: below the floor or above the ceiling, with the limits.
    """
    budget, footprint = request.budgets[number].budget(), known.selected.footprint
    check_floor(classes, budget, footprint)
    check_ceiling(classes, budget, footprint)
    return budget.layer_bits(footprint)
