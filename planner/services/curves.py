"""Error curves of a model: which settings they were measured in, and the cells of one of them."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from planner.curves import Curves
from planner.errors import NotFoundError, UnmeasuredError
from planner.measuring import REUSED_FROM
from planner.schemas.curves import CellDocument, CurvesDocument, ProbeSettingDocument, ProbeSettingList
from planner.services.expected_curves import expected_curves
from planner.services.planning_inputs import find_model, load_layers, trust
from planner.storage.cells import load_curves, measured_formats
from planner.storage.database import Database
from planner.storage.drifts import load_cell_drifts
from planner.storage.tables import CellRow, MeasuredFormatRow, ModelRow, ProbeSettingRow, utc_now
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.abstract import AbstractFormat
from sensitivity.formats.families import get_cell_format
from sensitivity.probe_facts import is_ranking

_COUNT_BYTES: Final = 200
CSV_COLUMNS = ("layer", "kind", "block", "format", "status", "loss", "standard_error", "drift")


def list_settings(session: Session, key: str) -> ProbeSettingList:
    """How a model was measured so far, freshest first.

    Raises:
        NotFoundError: no such model.
    """
    model = find_model(session, key)
    return ProbeSettingList(model=model.id, items=_settings(session, model))


def get_curves(
    session: Session,
    key: str,
    *,
    probe: str | None = None,
    rounding: str | None = None,
    setting: str | None = None,
    formats: Sequence[str] | None = None,
    layers: str | None = None,
    expected: bool = False,
) -> CurvesDocument:
    """The cells of one probe setting, layer by layer in model order.

    Args:
        session: where to read.
        key: model id, or its name.
        probe: whose cells; by default the most trusted probe that was run.
        rounding: method that its cells were rounded by; by default any.
        setting: id of one setting; by default the freshest of the probe.
        formats: candidate formats; by default every one with a cell.
        layers: shell-style pattern of layer names.
        expected: with the expected losses that plans are made with; all cells of the setting are read for them.

    Raises:
        NotFoundError: no such model, or no such setting of it.
        UnmeasuredError: nothing was measured (with that probe, rounded so).
        UnknownFormatError: no such format.
    """
    model = find_model(session, key)
    found = find_setting(session, model, probe=probe, rounding=rounding, setting=setting)
    names = found.formats if formats is None else [get_cell_format(name).name for name in dict.fromkeys(formats)]
    wanted = [layer for layer in load_layers(session, model.id) if layers is None or fnmatchcase(layer.name, layers)]
    candidates = [get_cell_format(name) for name in names]
    curves = load_curves(session, model.id, found.id, candidates, [layer.name for layer in wanted])
    drifts = load_cell_drifts(session, model.id, found.id) if REUSED_FROM in found.parameters else {}
    freed = _expected(session, model, found, curves) if expected else None
    items = [
        _cell(curves, layer, i, k, expected=freed, drift=drifts.get((layer.name, name)))
        for i, layer in enumerate(wanted)
        for k, name in enumerate(names)
        if curves.status[i, k]
    ]
    return CurvesDocument(model=model.id, setting=found, unit=unit_of(found), items=items)


def find_setting(
    session: Session, model: ModelRow, *, probe: str | None = None, rounding: str | None = None, setting: str | None = None
) -> ProbeSettingDocument:
    """The setting asked for; else the freshest of the most trusted probe that was not measured on a few cells only.

    Raises:
        NotFoundError: no such setting of the model.
        UnmeasuredError: nothing was measured (with that probe, rounded so).
    """
    known = _settings(session, model)
    if setting is not None and all(item.id != setting for item in known):
        msg = (
            f"model {model.name!r} has no cells of probe setting {setting!r}: see bitplan curves list "
            f"{model.name}, or GET /v1/models/{model.id}/settings"
        )
        raise NotFoundError(msg, setting=setting)
    offered = [item for item in known if probe in (None, item.probe) and rounding in (None, item.rounding)]
    if not offered:
        what = f"with probe {probe!r}" if probe else "yet"
        what += f" and rounding {rounding!r}" if rounding else ""
        msg = f"model {model.name!r} has no curves {what}: run a sensitivity job first (bitplan measure, or POST /v1/jobs)"
        raise UnmeasuredError(msg, model=model.id)
    return choose_setting(offered, setting=setting)


def unit_of(setting: ProbeSettingDocument) -> str:
    """Unit of a setting's losses: 'nats/token', 'relative', or 'ranking' for numbers that are no losses."""
    if is_ranking(setting.probe):
        return "ranking"
    return "nats/token" if setting.in_nats else "relative"


def choose_setting(known: Sequence[ProbeSettingDocument], *, setting: str | None = None) -> ProbeSettingDocument:
    """The setting of that id if it is known; else the freshest of the most trusted probe. ``known`` is not empty.

    Settings with less than half as many cells a format as the fullest (a few exact cells beside the curves) stand back.
    """
    asked = [item for item in known if item.id == setting]
    fullest = max(map(_cells_a_format, known))
    whole = [item for item in known if 2 * _cells_a_format(item) >= fullest]
    return min(asked or whole, key=lambda item: trust(item.probe))


def _cells_a_format(setting: ProbeSettingDocument) -> float:
    return setting.cells / max(1, len(setting.formats))


def curves_csv(document: CurvesDocument) -> str:
    """The cells as CSV with a header line; empty where there is no number."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(CSV_COLUMNS)
    writer.writerows([getattr(item, column) for column in CSV_COLUMNS] for item in document.items)
    return text.getvalue()


def _expected(
    session: Session, model: ModelRow, setting: ProbeSettingDocument, wanted: Curves[AbstractFormat]
) -> Curves[AbstractFormat]:
    """The expected curves of these layers and formats, given all cells of the setting."""
    formats = dict.fromkeys([*map(get_cell_format, setting.formats), *wanted.formats])
    freed, _ = expected_curves(setting.probe, load_curves(session, model.id, setting.id, list(formats)))
    rows = {name: row for row, name in enumerate(freed.layers)}
    return freed.part([rows[name] for name in wanted.layers], [freed.formats.index(fmt) for fmt in wanted.formats])


def _cell(
    curves: Curves[AbstractFormat],
    layer: Layer,
    row: int,
    column: int,
    *,
    expected: Curves[AbstractFormat] | None,
    drift: float | None,
) -> CellDocument:
    return CellDocument(
        layer=layer.name,
        kind=layer.kind,
        block=layer.block,
        format=curves.formats[column].name,
        status=str(curves.status[row, column]),
        loss=_number(curves.loss[row, column]),
        standard_error=_number(curves.standard_error[row, column]),
        expected_loss=None if expected is None else _number(expected.loss[row, column]),
        expected_error=None if expected is None else _number(expected.standard_error[row, column]),
        drift=drift,
    )


def _number(value: float) -> float | None:
    """A number of a cell; ``None`` where there is none."""
    return float(value) if math.isfinite(value) else None


def _settings(session: Session, model: ModelRow) -> list[ProbeSettingDocument]:
    by_setting: dict[str, list[MeasuredFormatRow]] = {}
    known = measured_formats(session, model.id)
    for measured in known:
        by_setting.setdefault(measured.setting_id, []).append(measured)
    counts = Database.of(session).memory.recall(
        ("cell counts", model.id),
        lambda: _counts(session, [measured.id for measured in known]),
        size=lambda made: _COUNT_BYTES * len(made),
        version=tuple((measured.id, measured.measured_at) for measured in known),
    )
    rows = session.scalars(select(ProbeSettingRow).where(ProbeSettingRow.id.in_(by_setting)))
    items = [_setting_document(row, by_setting[row.id], counts) for row in rows]
    return sorted(items, key=lambda item: item.age_seconds)


def _counts(session: Session, numbers: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Cells of measured formats, and how many of them have a number."""
    counted = select(CellRow.measured_format_id, func.count(), func.count(CellRow.loss))
    counted = counted.where(CellRow.measured_format_id.in_(numbers)).group_by(CellRow.measured_format_id)
    return {number: (cells, with_number) for number, cells, with_number in session.execute(counted)}


def _setting_document(
    row: ProbeSettingRow, measured: Sequence[MeasuredFormatRow], counts: Mapping[int, tuple[int, int]]
) -> ProbeSettingDocument:
    newest = max(item.measured_at for item in measured)
    seen = {item.format for item in measured}
    return ProbeSettingDocument(
        id=row.id,
        probe=row.probe,
        code_version=row.code_version,
        rounding=row.rounding,
        rounding_version=row.rounding_version,
        calibration=row.calibration_id,
        parameters=row.parameters,
        in_nats=row.in_nats,
        additive=row.additive,
        formats=[fmt.name for fmt in sorted(map(get_cell_format, seen), key=lambda fmt: (fmt.num_bits or 0, fmt.name))],
        cells=sum(counts.get(item.id, (0, 0))[0] for item in measured),
        measured_cells=sum(counts.get(item.id, (0, 0))[1] for item in measured),
        last_measured_at=newest,
        age_seconds=max(0.0, (utc_now() - newest).total_seconds()),
    )
