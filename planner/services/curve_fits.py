"""Curves ``loss ≈ α·β^(−bits)`` fitted to what was measured, layer by layer (papers §22.2)."""

import csv
import io
import math
from collections.abc import Sequence

import numpy as np
from sqlalchemy.orm import Session

from planner.curve_tools.shapes import convex
from planner.errors import UnmeasuredError
from planner.schemas.curve_tools import CurveFlag, FitsDocument, LayerFit
from planner.services.curves import get_curves
from planner.services.planning_inputs import load_layers, refuse_other_numbers
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.registry import resolve_format
from solvers.rates.curves import RateCurves, fit_curves

CSV_COLUMNS = ("layer", "kind", "block", "log_alpha", "beta", "residual", "r_squared", "points", "left_out", "flags")


def fit(
    session: Session,
    key: str,
    *,
    probe: str | None = None,
    setting: str | None = None,
    formats: Sequence[str] | None = None,
    layers: str | None = None,
) -> FitsDocument:
    """Fit a curve to each layer's cells by least squares of ln loss on stored bits per weight.

    Stored bits count scales and padding, so formats of several group sizes lie on one curve. Formats that store weights as
    they are (BF16, FP16) are no points of it.

    Args:
        session: where to read.
        key: model id, or its name.
        probe: whose cells; by default the most trusted probe that was run.
        setting: id of one setting; by default the freshest of the probe.
        formats: candidate formats; by default every quantized one with a cell.
        layers: shell-style pattern of layer names.

    Raises:
        NotFoundError: no such model, or no such setting of it.
        InvalidRequestError: the probe measures no losses of weights.
        UnmeasuredError: nothing was measured with that probe, or in these formats.
        UnknownFormatError: no such format.
    """
    curves = get_curves(session, key, probe=probe, setting=setting, formats=formats, layers=layers)
    refuse_other_numbers(curves.setting.probe)
    names = list(dict.fromkeys(cell.format for cell in curves.items if resolve_format(cell.format).is_quantized))
    if not names:
        msg = "no quantized format was measured for these layers: name other formats or layers, or measure them first"
        raise UnmeasuredError(msg, model=curves.model)
    present = {cell.layer for cell in curves.items}
    found = [layer for layer in load_layers(session, curves.model) if layer.name in present]
    rows, columns = {layer.name: i for i, layer in enumerate(found)}, {name: k for k, name in enumerate(names)}
    loss = np.full((len(found), len(names)), np.nan)
    for cell in curves.items:
        if cell.loss is not None and cell.format in columns:
            loss[rows[cell.layer], columns[cell.format]] = cell.loss
    bits = np.array([[_stored_bits(layer, name) for name in names] for layer in found])
    fitted, pooled = fit_curves(bits, loss), fit_curves(bits, loss, pooled=True)
    bent = ~convex(bits, loss)
    return FitsDocument(
        model=curves.model,
        setting=curves.setting,
        unit=curves.unit,
        formats=names,
        pooled_beta=next((float(beta) for beta in pooled.beta if math.isfinite(beta)), None),
        items=[_fit(layer, fitted, i, bent=bool(bent[i])) for i, layer in enumerate(found)],
    )


def fits_csv(document: FitsDocument) -> str:
    """The fits as CSV with a header line; empty where there is no curve, flags separated by spaces."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(CSV_COLUMNS)
    for item in document.items:
        writer.writerow([*(getattr(item, column) for column in CSV_COLUMNS[:-1]), " ".join(item.flags)])
    return text.getvalue()


def _stored_bits(layer: Layer, name: str) -> float:
    """Stored bits per weight; NaN where the format cannot store the layer."""
    candidate = resolve_format(name)
    return math.nan if candidate.refusal(layer.shape) else candidate.size_bits(layer.shape) / layer.parameters


def _fit(layer: Layer, fitted: RateCurves, i: int, *, bent: bool) -> LayerFit:
    raised: dict[CurveFlag, bool] = {
        "too_few": bool(fitted.too_few[i]),
        "flat": bool(fitted.flat[i]),
        "rising": bool(fitted.rising[i]),
        "not_convex": bent,
    }
    return LayerFit(
        layer=layer.name,
        kind=layer.kind,
        block=layer.block,
        log_alpha=_finite(fitted.log_scale[i]),
        beta=_finite(fitted.beta[i]),
        residual=_finite(fitted.residual[i]),
        r_squared=_finite(fitted.r_squared[i]),
        points=int(fitted.used[i]),
        left_out=int(fitted.left_out[i]),
        flags=[flag for flag, is_raised in raised.items() if is_raised],
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
