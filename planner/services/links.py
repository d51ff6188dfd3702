"""Links: a cheap probe's curves brought to the scale of an exact probe, stored as a probe setting of its own."""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from planner.cells import Cell, ProbeSetting
from planner.curve_tools.agreement import agreement
from planner.errors import InvalidRequestError, NotFoundError, UnmeasuredError
from planner.schemas.links import HeldOutFigures, LinkDocument, LinkedProbes, LinkFigures, LinkRequest
from planner.services.linked_curves import LinkedCurves, cheap_curves, link_curves, pairs_of
from planner.services.planning_inputs import LINKED, find_model, refuse_other_numbers
from planner.storage.cells import load_curves, measured_formats, store_cells
from planner.storage.database import Database
from planner.storage.tables import ModelRow, ProbeSettingRow
from sensitivity.formats.registry import resolve_format
from sensitivity.links.fitting import HeldOut, LinkFit
from sensitivity.links.pairs import Pairs
from sensitivity.rounding_facts import get_rounding_facts
from sensitivity.statistics import CellStatus

LINK_VERSION: Final = 3
"""Raised whenever the numbers of a link would change."""


@dataclass(frozen=True, slots=True, eq=False)
class _Linked:
    """A link of a model's curves that is not stored yet."""

    model: str
    setting: ProbeSetting
    linked: LinkedCurves
    document: LinkDocument


def create_link(database: Database, key: str, request: LinkRequest) -> LinkDocument:
    """Fit a link on the cells that both probes measured, and store the linked curves of the whole model.

    The setting's parameters hold where it comes from and what was fitted; a hash of the cells is among them, so the same cells
    give the same setting, and others never replace it. All is computed before the transaction that writes it begins.

    Args:
        database: where the cells are.
        key: model id, or its name.
        request: which probes.

    Raises:
        NotFoundError: no such model, also where it is deleted meanwhile, or a setting that it was not measured in.
        InvalidRequestError: probes that cannot be linked.
        UnmeasuredError: nothing was measured with one of them, or not with the same rounding.
        LinkError: too few cells in common, or losses that foretell nothing of the exact ones.
        FormatError: no such rounding method.
    """
    with database.read_session() as session:
        found = _link(session, find_model(session, key), request)
    with database.session() as session:
        find_model(session, found.model)
        store_cells(session, found.model, found.setting, _cells(found.linked))
    return found.document


def _link(session: Session, model: ModelRow, request: LinkRequest) -> _Linked:
    source = find_source(session, model, request)
    target = _find_target(session, model, source, request)
    measured = measured_formats(session, model.id)
    names = {row.format for row in measured if row.setting_id in (source.id, target.id)}
    formats = sorted(map(resolve_format, names), key=lambda fmt: (fmt.num_bits, fmt.name))
    cheap, exact = (load_curves(session, model.id, row.id, formats) for row in (source, target))
    cheap = cheap_curves(source.probe, cheap, shrinkage=request.shrinkage)
    linked = link_curves(cheap, exact, same_unit=same_unit(source, target), seed=request.seed)
    setting = _setting(source, target, linked, request)
    told = linked.curves.status != ""
    document = LinkDocument(
        model=model.id,
        setting=setting.id,
        probe=setting.probe,
        source=source.id,
        target=target.id,
        link=figures(linked.fit, pairs_of(cheap, exact)),
        exact_cells=int(linked.exact.sum()),
        linked_cells=int((told & ~linked.exact).sum()),
        notes=notes_on(linked.fit, source.probe) + _notes_on_kinds(linked, source.probe) + _notes_on_texts(source, target),
    )
    return _Linked(model.id, setting, linked, document)


def find_source(session: Session, model: ModelRow, request: LinkedProbes) -> ProbeSettingRow:
    """The setting whose cells are linked: the one asked for, or the freshest of the probe and rounding method.

    Raises:
        NotFoundError: a setting that the model was not measured in.
        InvalidRequestError: a probe that cannot be linked.
        UnmeasuredError: nothing was measured with the probe and the rounding method.
        FormatError: no such rounding method.
    """
    check_probes(request.source, request.target)
    rounding = None if request.rounding is None else get_rounding_facts(request.rounding).name
    rows = _freshest_first(session, model, request.source)
    rows = [row for row in rows if rounding in (None, row.rounding)]
    return _wanted(model, rows, request.source, request.source_setting)


def check_probes(source: str, target: str) -> None:
    """Refuse probes that no link is between.

    Raises:
        InvalidRequestError: one of them has no losses of weights or is linked already, or both are the same.
        UnknownProbeError: one of them does not exist.
    """
    for name in (source, target):
        _check_probe(name)
    if source == target:
        msg = f"a link is between two probes; source and target are both {source!r}"
        raise InvalidRequestError(msg)


def same_unit(source: ProbeSettingRow | ProbeSetting, target: ProbeSettingRow | ProbeSetting) -> bool:
    """Both losses are in nats per token."""
    return source.in_nats and target.in_nats


def figures(fit: LinkFit, pairs: Pairs) -> LinkFigures:
    """The link and its quality, as documents show them."""
    ranks = agreement(pairs.cheap, pairs.exact, first_error=pairs.cheap_error, second_error=pairs.exact_error)
    link = fit.link
    return LinkFigures(
        family=str(link.family),
        slope=link.slope,
        knots=[(float(x), float(y)) for x, y in link.knots],
        offsets=dict(link.offsets),
        residual_deviation=math.sqrt(link.residual_variance),
        pairs=fit.pairs,
        r2=fit.r2,
        spearman=ranks.spearman,
        kendall=ranks.kendall,
        held_out=_held_out(fit.held_out),
        identity=None if fit.identity is None else _held_out(fit.identity),
    )


def notes_on(fit: LinkFit, source: str) -> list[str]:
    """What a reader of the figures must know."""
    if fit.link.family != "identity":
        return []
    return [
        f"no link foretells held-out cells better than {source} as it is: its losses stay, with the residual in their errors, "
        "beside the exact cells"
    ]


def _notes_on_kinds(linked: LinkedCurves, source: str) -> list[str]:
    if linked.kinds.offset == 0:
        return []
    return [
        f"losses of {source} that few samples dominate were left out of the fit: where no exact cell is known, their like are "
        f"taken times {math.exp(linked.kinds.offset):.2f}"
    ]


def _notes_on_texts(source: ProbeSettingRow, target: ProbeSettingRow) -> list[str]:
    texts = (source.calibration_id, target.calibration_id)
    if None in texts or texts[0] == texts[1]:
        return []
    return ["source and target were measured on different texts: the residual holds their difference"]


def _held_out(found: HeldOut) -> HeldOutFigures:
    return HeldOutFigures(r2=found.r2, median_error=found.median_error, p90_error=found.p90_error)


def _check_probe(name: str) -> None:
    """Refuse what has no losses of weights, and what is linked already."""
    if name.startswith(LINKED):
        msg = f"{name!r} is linked already: name a probe that was measured"
        raise InvalidRequestError(msg)
    refuse_other_numbers(name)


def _find_target(session: Session, model: ModelRow, source: ProbeSettingRow, request: LinkRequest) -> ProbeSettingRow:
    """The exact cells: rounded as the source's, on the same text where that matters or can be had."""
    rows = [
        row
        for row in _freshest_first(session, model, request.target)
        if (row.rounding, row.rounding_version) == (source.rounding, source.rounding_version)
    ]
    same_text = [row for row in rows if row.calibration_id == source.calibration_id]
    if get_rounding_facts(source.rounding).needs_inputs:
        rows = same_text
    return _wanted(model, [*same_text, *rows], request.target, request.target_setting, rounding=source.rounding)


def _freshest_first(session: Session, model: ModelRow, probe: str) -> list[ProbeSettingRow]:
    """Settings of the probe that the model was measured in."""
    columns = sorted(measured_formats(session, model.id), key=lambda column: column.measured_at, reverse=True)
    order = list(dict.fromkeys(column.setting_id for column in columns))
    rows = session.scalars(select(ProbeSettingRow).where(ProbeSettingRow.id.in_(order), ProbeSettingRow.probe == probe))
    return sorted(rows, key=lambda row: order.index(row.id))


def _wanted(
    model: ModelRow, rows: Sequence[ProbeSettingRow], probe: str, setting: str | None, *, rounding: str | None = None
) -> ProbeSettingRow:
    """The first, or the one asked for."""
    found = next((row for row in rows if setting in (None, row.id)), None)
    if found is not None:
        return found
    how = f" with rounding {rounding}, and on the source's text if the method looks at inputs" if rounding else ""
    if setting is not None:
        msg = (
            f"model {model.name!r} has no cells of {probe!r} in setting {setting!r}{how}: see bitplan curves list {model.name}, "
            f"or GET /v1/models/{model.id}/settings"
        )
        raise NotFoundError(msg, setting=setting)
    command = f"bitplan measure {model.name} --probe {probe}{' --sample 40' if rounding else ''}"
    msg = f"model {model.name!r} has no cells of {probe!r}{how}: measure some first ({command})"
    raise UnmeasuredError(msg, model=model.id)


def _setting(source: ProbeSettingRow, target: ProbeSettingRow, linked: LinkedCurves, request: LinkRequest) -> ProbeSetting:
    """The identity of linked cells: where they come from, and a hash of them."""
    fit, link = linked.fit, linked.fit.link
    parameters: dict[str, float | int | str] = {
        "source": source.id,
        "target": target.id,
        "target_probe": target.probe,
        "family": str(link.family),
        "slope": link.slope,
        "knots": json.dumps(link.knots.tolist()),
        "offsets": json.dumps(dict(link.offsets), sort_keys=True),
        "residual_deviation": math.sqrt(link.residual_variance),
        "pairs": fit.pairs,
        "exact_cells": int(linked.exact.sum()),
        "r2": fit.r2,
        "residual_share": linked.share,
        "unsteady_offset": linked.kinds.offset,
        "variance_scale": linked.kinds.scale,
        "unsteady_variance_scale": linked.kinds.unsteady_scale,
        "held_out_r2": fit.held_out.r2,
        "held_out_median_error": fit.held_out.median_error,
        "held_out_p90_error": fit.held_out.p90_error,
        "shrinkage": "yes" if request.shrinkage else "no",
        "seed": request.seed,
        "cells": _fingerprint(linked),
    }
    if fit.identity is not None:
        parameters["identity_r2"] = fit.identity.r2
    return ProbeSetting(
        probe=LINKED + source.probe,
        code_version=LINK_VERSION,
        rounding=source.rounding,
        rounding_version=source.rounding_version,
        calibration_id=source.calibration_id or target.calibration_id,
        parameters=parameters,
        in_nats=target.in_nats,
        additive=target.additive,
    )


def _fingerprint(linked: LinkedCurves) -> str:
    """SHA-256 over the names, losses and standard errors of all linked cells."""
    curves = linked.curves
    digest = hashlib.sha256("\n".join((*curves.layers, *(fmt.identity for fmt in curves.formats))).encode())
    for numbers in (curves.loss, curves.standard_error):
        digest.update(np.nan_to_num(numbers, nan=-1.0).astype("<f8").tobytes())
    return digest.hexdigest()


def _cells(linked: LinkedCurves) -> Iterator[Cell]:
    """The linked cells; they have no samples of their own."""
    curves = linked.curves
    for i, k in np.argwhere(curves.status != "").tolist():
        measured = curves.status[i, k] == CellStatus.MEASURED
        error = float(curves.standard_error[i, k])
        yield Cell(
            layer=curves.layers[i],
            format=curves.formats[k].name,
            format_identity=curves.formats[k].identity,
            status=CellStatus(str(curves.status[i, k])),
            loss=float(curves.loss[i, k]) if measured else None,
            standard_error=error if measured and math.isfinite(error) else None,
            samples=0.0,
            total=None,
            total_squares=None,
        )
