"""Cells of a measured model stand for those of a fine-tune of it where the layers did not move.

They are stored in a setting of their own, whose parameters name the model and the rule, so that nobody takes them for measured
ones; each carries the drift of its layer. What moved is measured on the model itself and joins them there.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from planner.cells import Cell, ProbeSetting
from planner.errors import InvalidRequestError, UnmeasuredError
from planner.measuring import plain_setting_of, reuse_parameters, setting_of
from planner.schemas.jobs import SubmitSensitivity
from planner.services.asked_cells import AskedCells
from planner.services.movement import Movement, movement
from planner.services.planning_inputs import find_model
from planner.storage.cells import load_cells, measured_formats, store_cells
from planner.storage.tables import ModelRow
from sensitivity.formats.candidate import CandidateFormat


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class TakenOver:
    """What of a request that reuses a model need not be measured.

    Attributes:
        added: what to add to the payload of the job, so that its cells join these; empty where no model is reused.
        cells: bool (layers, formats) of the request: stored in the setting of the job, or about to be.
    """

    added: Mapping[str, Any]
    cells: NDArray[np.bool_]


def take_over(
    session: Session,
    model: ModelRow,
    request: SubmitSensitivity,
    payload: Mapping[str, Any],
    found: AskedCells,
    *,
    keep: bool = True,
) -> TakenOver:
    """Fill the setting of a request that reuses a model with every cell that need not be measured.

    A cell that was measured on the model itself goes before one of the other model.

    Args:
        session: a write transaction, unless nothing is kept.
        model: the model that is asked about.
        request: what is asked, with the model to reuse.
        payload: of the job that would measure all of it.
        found: the cells that are asked for.
        keep: whether the cells are stored, not only found.

    Raises:
        NotFoundError: no such model to reuse.
        InvalidRequestError: ``force`` as well, or formats that are not of weights.
        UnmeasuredError: the other model was not measured in this way, the two were not compared, or a rounding error that the
            rule needs is unknown.
    """
    taken = np.zeros(found.asked.shape, dtype=np.bool_)
    if request.reuse is None:
        return TakenOver({}, taken)
    reference, plain = find_model(session, request.reuse), plain_setting_of(payload)
    formats = _formats(request, found)
    _refuse_unmeasured(session, reference, plain)
    moved = movement(session, model, reference, found.layers, formats, ratio=request.reuse_ratio)
    _refuse_undecided(moved, reference, found)
    added = reuse_parameters(reference.id, request.reuse_ratio)
    setting = setting_of({**payload, **added})
    asked = found.asked & found.storable
    for k, fmt in enumerate(formats):
        own, there, others = (
            {cell.layer: cell for cell in load_cells(session, where.id, how.id, [fmt])}
            for where, how in ((model, plain), (model, setting), (reference, plain))
        )
        drift = {
            layer.name: float(moved.change[i]) if moved.unmoved[i, k] else None
            for i, layer in enumerate(found.layers)
            if asked[i, k]
        }
        missing = {cell.layer: cell for cell in _missing(own, there, others, drift)}
        taken[:, k] = [layer.name in missing for layer in found.layers]
        if keep:
            store_cells(session, model.id, setting, missing.values())
    return TakenOver(added, taken)


def _missing(
    own: Mapping[str, Cell], there: Mapping[str, Cell], others: Mapping[str, Cell], drift: Mapping[str, float | None]
) -> Iterator[Cell]:
    """Cells of one format that the setting is to get: the model's own, else the other's where the layer did not move.

    Args:
        own: measured on the model, by layer.
        there: in the setting already.
        others: measured on the other model.
        drift: of the layers that are asked for; ``None`` where the cell moved.
    """
    for layer, change in drift.items():
        if layer in own:
            if layer not in there or there[layer].drift is not None:
                yield own[layer]
        elif change is not None and layer in others and layer not in there:
            yield dataclasses.replace(others[layer], drift=change)


def _formats(request: SubmitSensitivity, found: AskedCells) -> list[CandidateFormat]:
    if request.force:
        msg = "force measures every cell again, and reuse takes cells over: leave one of them out"
        raise InvalidRequestError(msg)
    formats = [fmt for fmt in found.formats if isinstance(fmt, CandidateFormat)]
    if len(formats) < len(found.formats):
        msg = f"only cells in formats of weights are taken over, which probe {request.probe!r} does not measure: leave reuse out"
        raise InvalidRequestError(msg)
    return formats


def _refuse_unmeasured(session: Session, reference: ModelRow, setting: ProbeSetting) -> None:
    if not measured_formats(session, reference.id, setting.id):
        msg = (
            f"model {reference.name!r} has no cells of probe {setting.probe!r} and rounding {setting.rounding!r} with the text "
            f"and the parameters of this request: measure it in the same way first"
        )
        raise UnmeasuredError(msg, model=reference.id)


def _refuse_undecided(moved: Movement, reference: ModelRow, found: AskedCells) -> None:
    undecided = (moved.undecided & found.asked & found.storable).any(axis=0)
    if undecided.any():
        names = [found.formats[k].name for k in np.flatnonzero(undecided)]
        msg = (
            f"the rounding errors of {reference.name!r} in {', '.join(names)} are unknown, by which it is judged what moved: "
            f"measure it with the probe weight_error first"
        )
        raise UnmeasuredError(msg, model=reference.id, formats=names)
