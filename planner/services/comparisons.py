"""Two probe settings of one model, compared cell by cell."""

import re
from collections.abc import Sequence

import numpy as np
from sqlalchemy.orm import Session

from planner.curve_tools.agreement import agreement
from planner.errors import InvalidRequestError, UnmeasuredError
from planner.schemas.curve_tools import AgreementDocument, ComparedCell, ComparisonDocument
from planner.schemas.curves import CurvesDocument
from planner.services.curves import get_curves
from sensitivity.formats.any_format import ANY_FORMAT

_SETTING_ID = re.compile(r"[0-9a-f]{64}")


def compare(
    session: Session,
    key: str,
    first: str,
    second: str,
    *,
    formats: Sequence[str] | None = None,
    layers: str | None = None,
) -> ComparisonDocument:
    """Rank correlations and ratios of sums over the cells that both settings have measured, format by format and overall.

    A number that does not depend on a format (the column ``ANY`` of a ranking) is compared with every format of the other.

    Args:
        session: where to read.
        key: model id, or its name.
        first: name of a probe (its freshest setting), probe and rounding method (``fisher:gptq``), or id of a setting.
        second: what to compare it with, likewise.
        formats: candidate formats; by default every one that both have.
        layers: shell-style pattern of layer names.

    Raises:
        NotFoundError: no such model, or no such setting of it.
        InvalidRequestError: both are one setting.
        UnmeasuredError: nothing was measured with one of the probes, rounded so, or they have no cell in common.
        UnknownFormatError: no such format.
    """
    named = None if formats is None else [*formats, ANY_FORMAT.name]
    one, two = (_curves(session, key, name, formats=named, layers=layers) for name in (first, second))
    if one.setting.id == two.setting.id:
        msg = f"{first!r} and {second!r} are the same setting: name two (bitplan curves list, or GET /v1/models/ID/settings)"
        raise InvalidRequestError(msg, setting=one.setting.id)
    cells = _in_common(one, two)
    if not cells:
        msg = f"{first!r} and {second!r} have no measured cell in common: measure one of them in formats and layers of the other"
        raise UnmeasuredError(msg, model=one.model)
    summable = one.setting.additive and two.setting.additive and one.unit == two.unit
    return ComparisonDocument(
        model=one.model,
        first=one.setting,
        second=two.setting,
        first_unit=one.unit,
        second_unit=two.unit,
        overall=_agreement(cells, None, summable=summable),
        items=[
            _agreement([cell for cell in cells if cell.format == name], name, summable=summable)
            for name in dict.fromkeys([*one.setting.formats, *two.setting.formats])
            if any(cell.format == name for cell in cells)
        ],
        cells=cells,
    )


def _curves(session: Session, key: str, name: str, *, formats: Sequence[str] | None, layers: str | None) -> CurvesDocument:
    if _SETTING_ID.fullmatch(name):
        return get_curves(session, key, setting=name, formats=formats, layers=layers)
    probe, _, rounding = name.partition(":")
    return get_curves(session, key, probe=probe, rounding=rounding or None, formats=formats, layers=layers)


def _in_common(one: CurvesDocument, two: CurvesDocument) -> list[ComparedCell]:
    ours, theirs = ({(cell.layer, cell.format): cell for cell in curves.items} for curves in (one, two))
    found = []
    for layer, name in dict.fromkeys([*ours, *theirs]):
        cell, other = (column.get((layer, name)) or column.get((layer, ANY_FORMAT.name)) for column in (ours, theirs))
        if cell is None or other is None or cell.loss is None or other.loss is None:
            continue
        found.append(
            ComparedCell(
                layer=layer,
                format=name,
                first=cell.loss,
                first_error=cell.standard_error,
                second=other.loss,
                second_error=other.standard_error,
            )
        )
    return found


def _agreement(cells: Sequence[ComparedCell], name: str | None, *, summable: bool) -> AgreementDocument:
    columns = [(cell.first, cell.second, cell.first_error, cell.second_error) for cell in cells]
    first, second, first_error, second_error = np.array(columns, dtype=np.float64).T  # None becomes NaN
    found = agreement(first, second, first_error=first_error, second_error=second_error)
    return AgreementDocument(
        format=name,
        cells=found.cells,
        spearman=found.spearman,
        kendall=found.kendall,
        ratio=found.ratio if summable else None,
        ratio_error=found.ratio_error if summable else None,
    )
