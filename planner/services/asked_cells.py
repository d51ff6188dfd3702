"""Which cells a sensitivity request asks for: whole layers in all formats, single cells by name, or a sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from planner.errors import InvalidRequestError
from planner.rules import matching
from planner.schemas.jobs import SubmitSensitivity
from planner.services.planning_inputs import LINKED, load_layers, trust
from planner.storage.cells import load_curves, measured_formats
from planner.storage.tables import ModelRow, ProbeSettingRow
from sensitivity.checkpoint.description import Layer
from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import get_format
from sensitivity.links.sampling import stratified_sample
from sensitivity.rounding_facts import get_rounding_facts

_LEFT_OUT = "lm_head"


@dataclass(frozen=True, slots=True, eq=False)
class AskedCells:
    """The cells that a request asks for.

    Attributes:
        layers: layers with at least one of them, in model order.
        formats: candidate formats of the request.
        asked: bool (layers, formats).
        storable: bool (layers, formats): the format can store the layer.
    """

    layers: tuple[Layer, ...]
    formats: tuple[CandidateFormat, ...]
    asked: NDArray[np.bool_]
    storable: NDArray[np.bool_]

    def names(self, cells: NDArray[np.bool_]) -> dict[str, list[str]]:
        """Layer name → names of its formats among the cells, a bool array (layers, formats)."""
        found = {
            layer.name: [fmt.name for fmt, here in zip(self.formats, row, strict=True) if here]
            for layer, row in zip(self.layers, cells.tolist(), strict=True)
        }
        return {layer: formats for layer, formats in found.items() if formats}


def asked_cells(session: Session, model: ModelRow, request: SubmitSensitivity) -> AskedCells:
    """What the request asks for, whether it was measured before or not.

    Raises:
        InvalidRequestError: a pattern that matches nothing, a layer that the model does not have, a cell in a format that the
            request does not name, or no layer left.
        UnknownFormatError: no such format.
        UnsupportedShapeError: a format that can store none of the layers, or not the layer of a cell that was named.
    """
    known = load_layers(session, model.id)
    formats = tuple(get_format(name) for name in dict.fromkeys(name.upper() for name in request.formats))
    if request.cells is not None:
        return _named(known, formats, request.cells)
    layers = _selected(known, request)
    storable = _storable(layers, formats)
    asked = np.ones_like(storable)
    if request.sample is not None:
        loss = _known_loss(session, model, request, layers, formats)
        asked = stratified_sample(storable, loss, request.sample, seed=request.seed)
    return AskedCells(layers, formats, asked, storable)


def _named(known: Sequence[Layer], formats: tuple[CandidateFormat, ...], cells: Mapping[str, Sequence[str]]) -> AskedCells:
    """Cells by the names of their layers and formats."""
    unknown = cells.keys() - {layer.name for layer in known}
    if unknown:
        msg = f"the model has no layer {min(unknown)!r}; its layers are at /v1/models/ID/layers (bitplan models layers)"
        raise InvalidRequestError(msg, layers=sorted(unknown)[:20])
    columns = {fmt.name: k for k, fmt in enumerate(formats)}
    layers = tuple(layer for layer in known if layer.name in cells)
    asked = np.zeros((len(layers), len(formats)), dtype=bool)
    for row, layer in enumerate(layers):
        for name in cells[layer.name]:
            column = columns.get(get_format(name.upper()).name)
            if column is None:
                msg = f"the cell of {layer.name!r} in {name} is in none of the request's formats: add {name} to formats"
                raise InvalidRequestError(msg, formats=list(columns))
            asked[row, column] = True
    storable = _storable(layers, formats)
    for row, column in np.argwhere(asked & ~storable).tolist():
        reason = formats[column].refusal(layers[row].shape)
        msg = f"{layers[row].name!r} cannot be stored in {formats[column].name} ({reason}): leave this cell out"
        raise UnsupportedShapeError(msg)
    return AskedCells(layers, formats, asked, storable)


def _selected(layers: Sequence[Layer], request: SubmitSensitivity) -> tuple[Layer, ...]:
    """Layers that the patterns leave, in model order; by default all but the head."""
    kept = {index for index, layer in enumerate(layers) if layer.kind != _LEFT_OUT}
    if request.include is not None:
        kept = {index for pattern in request.include for index in matching(pattern, layers, of="include")}
    for pattern in request.exclude:
        kept -= set(matching(pattern, layers, of="exclude"))
    if not kept:
        msg = "no layer is left to measure: include more, or exclude less"
        raise InvalidRequestError(msg)
    return tuple(layers[index] for index in sorted(kept))


def _storable(layers: Sequence[Layer], formats: Sequence[CandidateFormat]) -> NDArray[np.bool_]:
    """Which format can store which layer, shape (layers, formats)."""
    shapes = {layer.shape for layer in layers}
    refusals = {(shape, candidate.name): candidate.refusal(shape) for shape in shapes for candidate in formats}
    for candidate in formats:
        reasons = [refusals[shape, candidate.name] for shape in shapes]
        if all(reasons):
            msg = f"no selected layer can be stored in {candidate.name} ({reasons[0]}): leave the format out"
            raise UnsupportedShapeError(msg)
    table = [[refusals[layer.shape, candidate.name] is None for candidate in formats] for layer in layers]
    return np.array(table, dtype=bool).reshape(len(layers), len(formats))


def _known_loss(
    session: Session,
    model: ModelRow,
    request: SubmitSensitivity,
    layers: Sequence[Layer],
    formats: Sequence[CandidateFormat],
) -> NDArray[np.float64]:
    """Losses by the most trusted other probe that was run with this rounding method, the freshest of it; NaN where unknown.

    Links are left out: a sample must not change because a link was fitted to it.
    """
    rounding = get_rounding_facts(request.rounding).name
    columns = sorted(measured_formats(session, model.id), key=lambda column: column.measured_at, reverse=True)
    freshest = list(dict.fromkeys(column.setting_id for column in columns))
    rows = session.scalars(select(ProbeSettingRow).where(ProbeSettingRow.id.in_(freshest), ProbeSettingRow.rounding == rounding))
    others = [row for row in rows if row.probe != request.probe and not row.probe.startswith(LINKED)]
    if not others:
        return np.full((len(layers), len(formats)), np.nan)
    found = min(others, key=lambda row: (trust(row.probe), freshest.index(row.id)))
    return load_curves(session, model.id, found.id, formats, [layer.name for layer in layers]).loss
