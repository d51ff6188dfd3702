"""The repository of drifts: how far the layers of a model are from those of another checkpoint."""

from collections.abc import Mapping

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from planner.storage.cells import layer_ids
from planner.storage.tables import CellRow, LayerDriftRow, LayerRow, MeasuredFormatRow, utc_now


def store_drift(session: Session, model_id: str, reference_id: str, changes: Mapping[str, float | None]) -> None:
    """Store the change of every layer, in place of what was stored for the same two checkpoints.

    Args:
        session: the caller's transaction.
        model_id: fingerprint of a registered model.
        reference_id: fingerprint of the checkpoint that it is compared with.
        changes: ‖ΔW‖/‖W‖ by name of the layer; ``None`` where the two cannot be compared.
    """
    ids, now = layer_ids(session, model_id), utc_now()
    layers = select(LayerRow.id).where(LayerRow.model_id == model_id)
    old = delete(LayerDriftRow).where(LayerDriftRow.layer_id.in_(layers), LayerDriftRow.reference_id == reference_id)
    session.execute(old)
    rows = [
        {"layer_id": ids[layer], "reference_id": reference_id, "change": change, "measured_at": now}
        for layer, change in changes.items()
    ]
    if rows:
        session.execute(insert(LayerDriftRow), rows)


def load_drift(session: Session, model_id: str, reference_id: str) -> dict[str, float | None]:
    """The change of every layer by its name, in model order; empty where the two checkpoints were not compared."""
    query = select(LayerRow.name, LayerDriftRow.change).join(LayerRow, LayerRow.id == LayerDriftRow.layer_id)
    query = query.where(LayerRow.model_id == model_id, LayerDriftRow.reference_id == reference_id).order_by(LayerRow.position)
    return {name: change for name, change in session.execute(query)}  # noqa: C416  (mypy takes no dict of rows)


def load_cell_drifts(session: Session, model_id: str, setting_id: str) -> dict[tuple[str, str], float]:
    """Drift of the cells that were taken over from another model, by (layer, format)."""
    query = (
        select(LayerRow.name, MeasuredFormatRow.format, CellRow.drift)
        .join(CellRow, CellRow.measured_format_id == MeasuredFormatRow.id)
        .join(LayerRow, LayerRow.id == CellRow.layer_id)
        .where(MeasuredFormatRow.model_id == model_id, MeasuredFormatRow.setting_id == setting_id, CellRow.drift.is_not(None))
    )
    return {(layer, name): drift for layer, name, drift in session.execute(query) if drift is not None}
