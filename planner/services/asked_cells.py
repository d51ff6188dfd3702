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
from sensitivity.formats.abstract import AbstractFormat
from sensitivity.formats.families import formats_for, get_cell_format
from sensitivity.links.sampling import stratified_sample
from sensitivity.probe_facts import ProbeFacts, get_facts
from sensitivity.rounding_facts import get_rounding_facts

_LEFT_OUT = "lm_head"


@dataclass(frozen=True, slots=True, eq=False)
class AskedCells:
    """The cells that a request asks for.

    Attributes:
        layers: layers with at least one of them, in model order.
        formats: formats of the request.
        asked: bool (layers, formats).
        storable: bool (layers, formats): the format concerns the layer and can store it.
    """

    layers: tuple[Layer, ...]
    formats: tuple[AbstractFormat, ...]
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
        UnknownFormatError: no such format, or none that the probe measures.
        UnsupportedShapeError: a format that can store none of the layers, or not the layer of a cell that was named.
    """
    known = load_layers(session, model.id)
    facts = get_facts(request.probe)
    named = request.formats
    if named is None and request.cells is not None:
        named = [name for formats in request.cells.values() for name in formats]
    formats = tuple(formats_for(facts.formats, named, probe=facts.name))
    if request.cells is not None:
        return _named(known, formats, request.cells)
    layers = _selected(known, request, facts)
    if request.formats is None:
        formats = tuple(fmt for fmt in formats if any(fmt.concerns(layer.kind) for layer in layers))
    asked, storable = _concerned(layers, formats), _storable(layers, formats)
    if not asked.any():
        msg = f"the probe {facts.name} has no number for any of the selected layers: include others"
        raise InvalidRequestError(msg)
    if request.sample is not None:
        loss = _known_loss(session, model, request, layers, formats)
        asked = stratified_sample(storable, loss, request.sample, seed=request.seed)
    rows = asked.any(axis=1)
    return AskedCells(tuple(layers[i] for i in np.flatnonzero(rows)), formats, asked[rows], storable[rows])


def _named(known: Sequence[Layer], formats: tuple[AbstractFormat, ...], cells: Mapping[str, Sequence[str]]) -> AskedCells:
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
            column = columns.get(get_cell_format(name).name)
            if column is None:
                msg = f"the cell of {layer.name!r} in {name} is in none of the request's formats: add {name} to formats"
                raise InvalidRequestError(msg, formats=list(columns))
            asked[row, column] = True
    storable = _storable(layers, formats)
    for row, column in np.argwhere(asked & ~storable).tolist():
        reason = _refusal(layers[row], formats[column])
        msg = f"{layers[row].name!r} cannot be stored in {formats[column].name} ({reason}): leave this cell out"
        raise UnsupportedShapeError(msg)
    return AskedCells(layers, formats, asked, storable)


def _selected(layers: Sequence[Layer], request: SubmitSensitivity, facts: ProbeFacts) -> tuple[Layer, ...]:
    """Layers that the patterns leave and the probe can measure, in model order; by default all but the head."""
    kept = {index for index, layer in enumerate(layers) if layer.kind != _LEFT_OUT}
    if request.include is not None:
        kept = {index for pattern in request.include for index in matching(pattern, layers, of="include")}
    for pattern in request.exclude:
        kept -= set(matching(pattern, layers, of="exclude"))
    if facts.only_in_blocks:
        kept = {index for index in kept if layers[index].block is not None}
    if not kept:
        msg = "no layer is left to measure: include more, or exclude less"
        raise InvalidRequestError(msg)
    return tuple(layers[index] for index in sorted(kept))


def _concerned(layers: Sequence[Layer], formats: Sequence[AbstractFormat]) -> NDArray[np.bool_]:
    """Which format has a cell of which layer, shape (layers, formats)."""
    table = [[fmt.concerns(layer.kind) for fmt in formats] for layer in layers]
    return np.array(table, dtype=bool).reshape(len(layers), len(formats))


def _storable(layers: Sequence[Layer], formats: Sequence[AbstractFormat]) -> NDArray[np.bool_]:
    """Which format concerns which layer and can store it, shape (layers, formats)."""
    examples = {(layer.kind, layer.shape): layer for layer in layers}
    refusals = {(*key, fmt.name): _refusal(layer, fmt) for key, layer in examples.items() for fmt in formats}
    for fmt in formats:
        reasons = [refusals[(*key, fmt.name)] for key in examples]
        if all(reasons):
            msg = f"no selected layer can be stored in {fmt.name} ({reasons[0]}): leave the format out"
            raise UnsupportedShapeError(msg)
    table = [[refusals[layer.kind, layer.shape, fmt.name] is None for fmt in formats] for layer in layers]
    return np.array(table, dtype=bool).reshape(len(layers), len(formats))


def _refusal(layer: Layer, fmt: AbstractFormat) -> str | None:
    """Why the layer has no cell in the format, or ``None`` if it has."""
    return fmt.refusal(layer.shape) if fmt.concerns(layer.kind) else f"{fmt.name} is not about {layer.kind}"


def _known_loss(
    session: Session,
    model: ModelRow,
    request: SubmitSensitivity,
    layers: Sequence[Layer],
    formats: Sequence[AbstractFormat],
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
