"""What the layers of a plan cost together, from the score products that `fisher_interaction` left in the store."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select, true
from sqlalchemy.orm import Session

from planner.build import Classes
from planner.storage.score_products import load_products
from planner.storage.tables import MeasuredFormatRow, ProbeSettingRow, ScoreProductsRow
from sensitivity.cross_terms import CrossTerms, cross_terms
from sensitivity.probe_facts import holds_cross_terms
from sensitivity.rounding_facts import all_rounding_facts


@dataclass(frozen=True, slots=True)
class PlanCrossTerms:
    """Cross terms of one assignment.

    Attributes:
        setting: id of the probe setting that the score products were measured in.
        terms: the numbers.
        layers: layers of the assignment that have score products; the others are taken as exact.
    """

    setting: str
    terms: CrossTerms
    layers: int


def plan_cross_terms(
    session: Session, model_id: str, found: str, classes: Classes, choice: NDArray[np.int64]
) -> PlanCrossTerms | None:
    """Cross terms of an assignment, or ``None`` where no layer of it has score products.

    Args:
        session: where to read.
        model_id: fingerprint of the model.
        found: id of the setting with score products that ``find_products`` named.
        classes: layer groups.
        choice: int64 (groups,), column of each group's format.
    """
    chosen: dict[str, list[str]] = {}
    for layer, column in zip(classes.layers, choice[classes.group_of_layer].tolist(), strict=True):
        chosen.setdefault(classes.formats[column].identity, []).append(layer.name)
    parts = [products for _, products in load_products(session, model_id, found, chosen)]
    known = [part[np.isfinite(part).all(axis=(1, 2))] for part in parts]
    layers = sum(len(part) for part in known)
    return PlanCrossTerms(found, cross_terms(known), layers) if layers else None


def find_products(session: Session, model_id: str, setting: ProbeSettingRow) -> str | None:
    """Id of the setting whose score products say what layers cost together; ``None`` where none do, or the cells say it already.

    Score products of the curves' own setting, else the freshest of the same rounded weights: what the layers do together is the
    same whether their cells come from ``fisher`` or ``kl``.

    Args:
        session: where to read.
        model_id: fingerprint of the model.
        setting: how the curves were measured.
    """
    if not (setting.in_nats and setting.additive) or holds_cross_terms(setting.probe):
        return None
    by_text = setting.rounding in {facts.name for facts in all_rounding_facts() if facts.needs_inputs}
    query = (
        select(ProbeSettingRow.id)
        .join(MeasuredFormatRow, MeasuredFormatRow.setting_id == ProbeSettingRow.id)
        .join(ScoreProductsRow, ScoreProductsRow.measured_format_id == MeasuredFormatRow.id)
        .where(MeasuredFormatRow.model_id == model_id)
        .where(ProbeSettingRow.rounding == setting.rounding, ProbeSettingRow.rounding_version == setting.rounding_version)
        .where(ProbeSettingRow.calibration_id == setting.calibration_id if by_text else true())
        .order_by(ScoreProductsRow.measured_at.desc(), ScoreProductsRow.measured_format_id.desc())
    )
    known: Sequence[str] = session.scalars(query).all()
    return setting.id if setting.id in known else next(iter(known), None)
