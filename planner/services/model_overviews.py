"""Registered models as a list shows them: what their bytes are for, how they were measured, how many plans there are."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import distinct, func, select
from sqlalchemy.orm import Session

from planner.budget import DTYPE_BITS
from planner.jobs.job import JobState
from planner.measuring import settings_of
from planner.schemas.models import Model
from planner.services.job_drafts import SENSITIVITY
from planner.storage.job_summaries import LEFT_OUT
from planner.storage.operating_points import AROUND
from planner.storage.tables import JobRow, LayerRow, MeasuredFormatRow, OperatingPointRow, PlanRow, ProbeSettingRow

_LOOKED_AT = 200


@dataclass(frozen=True, slots=True)
class ProbeAge:
    """A probe that a model was measured with.

    Attributes:
        probe: its name.
        formats: formats with a cell, over all settings of the probe.
        measured_at: when the newest cell was stored.
    """

    probe: str
    formats: int
    measured_at: datetime


@dataclass(frozen=True, slots=True)
class ModelOverview:
    """A model at a glance. Bytes are those of the unquantized checkpoint: layers too in the dtype of the rest.

    Attributes:
        model: its document.
        layer_bytes: layers that can be quantized.
        embedding_bytes: the token embedding.
        other_bytes: norms, biases, routers, learned positions: all that is neither.
        probes: what it was measured with, the freshest first.
        plans: stored plans.
    """

    model: Model
    layer_bytes: int
    embedding_bytes: int
    other_bytes: int
    probes: tuple[ProbeAge, ...]
    plans: int

    @property
    def bytes(self) -> int:
        """All of it."""
        return self.layer_bytes + self.embedding_bytes + self.other_bytes


@dataclass(frozen=True, slots=True)
class MeasuringCost:
    """What the measurements in one setting cost.

    Attributes:
        seconds: of computing, over all workers.
        jobs: how many jobs.
        peak_bytes: the most memory that one took; ``None`` where none was recorded.
    """

    seconds: float
    jobs: int
    peak_bytes: int | None


def overviews(session: Session, found: Sequence[Model]) -> list[ModelOverview]:
    """Models at a glance, in a handful of queries for all of them."""
    keys = [model.id for model in found]
    widths, probes, plans = _widths(session, keys), _probes(session, keys), _plans(session, keys)
    return [_overview(model, widths.get(model.id, 0), probes.get(model.id, ()), plans.get(model.id, 0)) for model in found]


def measuring_costs(session: Session, model_id: str) -> dict[str, MeasuringCost]:
    """What measuring cost by the id of the probe setting, from the newest jobs that succeeded; imports cost nothing.

    Of jobs around one plan, the newest counts.
    """
    query = select(JobRow.id, JobRow.summary, JobRow.unit_seconds).where(
        JobRow.model_id == model_id,
        JobRow.kind == SENSITIVITY,
        JobRow.state == JobState.SUCCEEDED.value,
        JobRow.unit_seconds > 0.0,
    )
    around = _settings_around(session, model_id)
    found: dict[str, MeasuringCost] = {}
    for job, summary, seconds in session.execute(query.order_by(JobRow.finished_at.desc()).limit(_LOOKED_AT)).all():
        peak = summary.get("memory", {}).get("peak_bytes")
        for setting in around.get(job, ()) if _is_around(summary) else [one.id for one in settings_of(summary)]:
            known = found.get(setting, MeasuringCost(0.0, 0, None))
            most = max(filter(None, (known.peak_bytes, peak)), default=None)
            found[setting] = MeasuringCost(known.seconds + seconds, known.jobs + 1, most)
    return found


def _is_around(summary: Mapping[str, Any]) -> bool:
    return AROUND in summary or AROUND in summary.get(LEFT_OUT, {})


def _settings_around(session: Session, model_id: str) -> dict[str | None, list[str]]:
    """By job, the setting of what it measured around a plan: summaries leave out plans of many layers."""
    query = select(OperatingPointRow.job_id, OperatingPointRow.setting_id).where(OperatingPointRow.model_id == model_id)
    found: dict[str | None, list[str]] = {}
    for job, setting in session.execute(query):
        found.setdefault(job, []).append(setting)
    return found


def _overview(model: Model, width: int, probes: Sequence[ProbeAge], plans: int) -> ModelOverview:
    element_bits = DTYPE_BITS.get(model.dtype, 16)
    embedding = min(model.unquantized_bytes, model.vocab_size * width * element_bits // 8)
    return ModelOverview(
        model=model,
        layer_bytes=model.layer_parameters * element_bits // 8,
        embedding_bytes=embedding,
        other_bytes=model.unquantized_bytes - embedding,
        probes=tuple(probes),
        plans=plans,
    )


def _widths(session: Session, keys: Collection[str]) -> dict[str, int]:
    """Inputs of the first layer of each model: as wide as the token embedding."""
    query = select(LayerRow.model_id, LayerRow.in_features).where(LayerRow.model_id.in_(keys), LayerRow.position == 0)
    return {row.model_id: row.in_features for row in session.execute(query)}


def _probes(session: Session, keys: Collection[str]) -> dict[str, list[ProbeAge]]:
    newest = func.max(MeasuredFormatRow.measured_at)
    query = (
        select(MeasuredFormatRow.model_id, ProbeSettingRow.probe, func.count(distinct(MeasuredFormatRow.format)), newest)
        .join(ProbeSettingRow, ProbeSettingRow.id == MeasuredFormatRow.setting_id)
        .where(MeasuredFormatRow.model_id.in_(keys))
        .group_by(MeasuredFormatRow.model_id, ProbeSettingRow.probe)
        .order_by(newest.desc())
    )
    found: dict[str, list[ProbeAge]] = {}
    for model, probe, formats, measured_at in session.execute(query):
        found.setdefault(model, []).append(ProbeAge(probe, formats, measured_at))
    return found


def _plans(session: Session, keys: Collection[str]) -> dict[str, int]:
    query = select(PlanRow.model_id, func.count().label("plans")).where(PlanRow.model_id.in_(keys)).group_by(PlanRow.model_id)
    return {row.model_id: row.plans for row in session.execute(query)}
