"""The tables. Ids are content hashes where the content is immutable, random where it is not.

A cell is unique by its identity: model, layer, format (by content), probe with its parameters and code version, calibration set
and rounding method (``MeasuredFormatRow`` + layer). Runs, jobs and plans come and go; cells stay.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship, validates
from sqlalchemy.types import JSON, BigInteger, Float, Integer, LargeBinary, String, Text

from planner.storage.columns import Base, UtcDateTime, utc_now
from planner.storage.job_summaries import summary_of
from planner.storage.plan_tables import PlanChoicesRow, PlanDocumentRow, PlanRow, PlanSheetRow

__all__ = [
    "ApiKeyRow",
    "Base",
    "CalibrationSetRow",
    "CellRow",
    "DeviceRow",
    "EvaluationRow",
    "IdempotentAnswerRow",
    "JobRow",
    "LayerDriftRow",
    "LayerRow",
    "MeasuredFormatRow",
    "ModelRow",
    "OperatingPointRow",
    "PlanChoicesRow",
    "PlanDocumentRow",
    "PlanEventRow",
    "PlanNameRow",
    "PlanPinRow",
    "PlanRow",
    "PlanSheetRow",
    "ProbeSettingRow",
    "ScoreProductsRow",
    "UnitRow",
    "UtcDateTime",
    "WorkerRow",
    "utc_now",
]


class ModelRow(Base):
    """A registered checkpoint. ``id`` is the fingerprint: registering the same files twice gives the same model.

    ``heads``, ``kv_heads``, ``rest`` and ``tokenizer_bytes`` are null in models that were registered before they were asked for,
    until they are again. ``rest`` has name and shape of each parameter that is of no layer; ``tokenizer_bytes`` is null where
    there is no tokenizer that is written to a GGUF, too.
    """

    __tablename__ = "models"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), index=True)
    source: Mapped[str] = mapped_column(Text)
    path: Mapped[str] = mapped_column(Text)
    revision: Mapped[str | None] = mapped_column(String(100))
    kind: Mapped[str] = mapped_column(String(20))
    architecture: Mapped[str] = mapped_column(String(100))
    dtype: Mapped[str] = mapped_column(String(20))
    blocks: Mapped[int] = mapped_column(Integer)
    parameters: Mapped[int] = mapped_column(BigInteger)
    unquantized_bytes: Mapped[int] = mapped_column(BigInteger)
    kv_elements_per_token: Mapped[int] = mapped_column(BigInteger)
    vocab_size: Mapped[int] = mapped_column(Integer)
    context_length: Mapped[int | None] = mapped_column(Integer)
    heads: Mapped[int | None] = mapped_column(Integer)
    kv_heads: Mapped[int | None] = mapped_column(Integer)
    rest: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True), deferred=True)
    tokenizer_bytes: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
    layers: Mapped[list["LayerRow"]] = relationship(
        order_by="LayerRow.position", cascade="all, delete-orphan", passive_deletes=True
    )


class LayerRow(Base):
    """A quantizable linear module of a model, in model order."""

    __tablename__ = "layers"
    __table_args__ = (UniqueConstraint("model_id", "name"), UniqueConstraint("model_id", "position"))

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"))
    position: Mapped[int] = mapped_column(Integer)
    name: Mapped[str] = mapped_column(String(300))
    kind: Mapped[str] = mapped_column(String(60))
    block: Mapped[int | None] = mapped_column(Integer)
    expert: Mapped[int | None] = mapped_column(Integer)
    out_features: Mapped[int] = mapped_column(Integer)
    in_features: Mapped[int] = mapped_column(Integer)
    active_fraction: Mapped[float] = mapped_column(Float)


class CalibrationSetRow(Base):
    """A text and how it is cut. ``id`` is the fingerprint over the text and every parameter.

    ``text`` is the UTF-8 text, zlib-compressed, so that a worker on any machine cuts the same tokens.
    """

    __tablename__ = "calibration_sets"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    source: Mapped[str] = mapped_column(Text)
    sequences: Mapped[int] = mapped_column(Integer)
    sequence_length: Mapped[int] = mapped_column(Integer)
    held_out_sequences: Mapped[int] = mapped_column(Integer)
    held_out_length: Mapped[int] = mapped_column(Integer)
    seed: Mapped[int] = mapped_column(BigInteger)
    characters: Mapped[int] = mapped_column(BigInteger)
    text: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class ProbeSettingRow(Base):
    """One way to measure: everything of a cell's identity but model, layer and format. ``id`` is its content hash."""

    __tablename__ = "probe_settings"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    probe: Mapped[str] = mapped_column(String(60), index=True)
    code_version: Mapped[int] = mapped_column(Integer)
    rounding: Mapped[str] = mapped_column(String(60))
    rounding_version: Mapped[int] = mapped_column(Integer)
    calibration_id: Mapped[str | None] = mapped_column(ForeignKey("calibration_sets.id"))
    parameters: Mapped[dict[str, Any]]
    in_nats: Mapped[bool]
    additive: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class MeasuredFormatRow(Base):
    """One format measured for one model in one probe setting: what the cells of a column have in common.

    A cell's identity is long (three content hashes); it stands here once, and the cells, hundreds of thousands a model, refer to
    it by number. ``measured_at`` is the newest of the column's cells, so it also says whether loaded curves are stale.
    """

    __tablename__ = "measured_formats"
    __table_args__ = (UniqueConstraint("model_id", "setting_id", "format_identity"),)

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"))
    setting_id: Mapped[str] = mapped_column(ForeignKey("probe_settings.id"), index=True)
    format: Mapped[str] = mapped_column(String(60))
    format_identity: Mapped[str] = mapped_column(String(64))
    measured_at: Mapped[datetime] = mapped_column(default=utc_now)


class CellRow(Base):
    """One (layer, format) measurement: status, loss, standard error and the sufficient statistics behind them.

    The primary key is the identity; SQLite stores the table in its order. ``job_id`` says where the numbers come from; the job
    itself may be gone. A cell that was taken over from another model, which its setting names, has that model's numbers and the
    ``drift`` of its layer since then (``LayerDriftRow.change``); ``drift`` is null for a cell measured on this model.
    """

    __tablename__ = "cells"
    __table_args__ = (
        CheckConstraint("(status = 'measured') = (loss IS NOT NULL)", name="loss_iff_measured"),
        {"sqlite_with_rowid": False},
    )

    measured_format_id: Mapped[int] = mapped_column(ForeignKey("measured_formats.id", ondelete="CASCADE"), primary_key=True)
    layer_id: Mapped[int] = mapped_column(ForeignKey("layers.id", ondelete="CASCADE"), primary_key=True, index=True)
    status: Mapped[str] = mapped_column(String(20))
    loss: Mapped[float | None] = mapped_column(Float(53))
    standard_error: Mapped[float | None] = mapped_column(Float(53))
    samples: Mapped[float] = mapped_column(Float(53))
    total: Mapped[float | None] = mapped_column(Float(53))
    total_squares: Mapped[float | None] = mapped_column(Float(53))
    drift: Mapped[float | None] = mapped_column(Float(53))
    job_id: Mapped[str | None] = mapped_column(String(32))
    measured_at: Mapped[datetime] = mapped_column(default=utc_now)


class ScoreProductsRow(Base):
    """Score products of one measured format: what a probe keeps beside the cells of the column.

    ``products`` is little-endian float32 ``(layers, sequences, draws)``, zlib-compressed: all layers in model order, NaN
    where a layer was not measured. Rows of one setting belong to the same sequences and the same drawn labels.
    """

    __tablename__ = "score_products"

    measured_format_id: Mapped[int] = mapped_column(ForeignKey("measured_formats.id", ondelete="CASCADE"), primary_key=True)
    sequences: Mapped[int] = mapped_column(Integer)
    draws: Mapped[int] = mapped_column(Integer)
    products: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    job_id: Mapped[str | None] = mapped_column(String(32))
    measured_at: Mapped[datetime] = mapped_column(default=utc_now)


class LayerDriftRow(Base):
    """How far a layer's weights are from those of the same layer in another checkpoint, the reference: ‖ΔW‖/‖W‖.

    A fact of two contents, so it outlives the registration of the reference. ``change`` is null where the two cannot be
    compared: the reference has no such layer, or one of another shape, or one of zeros.
    """

    __tablename__ = "layer_drifts"

    layer_id: Mapped[int] = mapped_column(ForeignKey("layers.id", ondelete="CASCADE"), primary_key=True)
    reference_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    change: Mapped[float | None] = mapped_column(Float(53))
    measured_at: Mapped[datetime] = mapped_column(default=utc_now)


class OperatingPointRow(Base):
    """The plan that the cells of a setting are changes from, and its own loss on the same text.

    ``layers`` is the assignment, layer to format. The setting names it by its digest, so a plan that is made twice is measured
    around once.
    """

    __tablename__ = "operating_points"

    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), primary_key=True)
    setting_id: Mapped[str] = mapped_column(ForeignKey("probe_settings.id"), primary_key=True)
    layers: Mapped[dict[str, Any]]
    loss: Mapped[float] = mapped_column(Float(53))
    standard_error: Mapped[float | None] = mapped_column(Float(53))
    samples: Mapped[float] = mapped_column(Float(53))
    job_id: Mapped[str | None] = mapped_column(String(32))
    measured_at: Mapped[datetime] = mapped_column(default=utc_now)


class JobRow(Base):
    """Queued work: ``queued running paused succeeded failed cancelled``.

    A smaller ``priority`` is served earlier. Workers without the ``label``, or with less than ``memory_bytes``, leave the job to
    others; units of a ``sequential`` job are begun one at a time, in the order of their keys. The lease is held by the worker
    that lists the units of the job, or merges their results; ``lease_token`` is new with every claim and fences off a worker
    that lost its lease. ``unit_seconds`` is what workers computed for the units that succeeded.
    """

    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_state_created_at", "state", "created_at"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    kind: Mapped[str] = mapped_column(String(30))
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), index=True)
    payload: Mapped[dict[str, Any]] = mapped_column(deferred=True)
    summary: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(20), default="queued")
    priority: Mapped[int] = mapped_column(Integer, default=0)
    label: Mapped[str | None] = mapped_column(String(60))
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    sequential: Mapped[bool] = mapped_column(default=False)
    forecast_seconds: Mapped[float | None] = mapped_column(Float(53))
    unit_seconds: Mapped[float] = mapped_column(Float(53), default=0.0)
    reason: Mapped[str | None] = mapped_column(Text)
    total: Mapped[int | None] = mapped_column(Integer)
    done: Mapped[int] = mapped_column(Integer, default=0)
    failed: Mapped[int] = mapped_column(Integer, default=0)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(100))
    lease_token: Mapped[str | None] = mapped_column(String(32))
    lease_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    @validates("payload")
    def _summarise(self, _name: str, payload: dict[str, Any]) -> dict[str, Any]:
        self.summary = summary_of(payload)
        return payload


class UnitRow(Base):
    """The smallest piece of a job that is done or not done; its result and its completion are one transaction.

    ``lease_token`` is new with every claim: who does not hold it cannot complete the unit. Nobody may claim the unit before
    ``lease_until``; after a failed attempt that is the end of its backoff.
    """

    __tablename__ = "units"
    __table_args__ = (
        UniqueConstraint("job_id", "key"),
        Index("ix_units_job_id_state_id", "job_id", "state", "id"),
        Index("ix_units_job_id_state_finished_at", "job_id", "state", "finished_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    key: Mapped[str] = mapped_column(String(100))
    payload: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(20), default="queued")
    reason: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(100))
    lease_token: Mapped[str | None] = mapped_column(String(32))
    lease_until: Mapped[datetime | None]
    result: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    seconds: Mapped[float | None] = mapped_column(Float)
    finished_at: Mapped[datetime | None]


class WorkerRow(Base):
    """A worker by its heartbeats; what it holds a lease of stands in the rows of jobs and units, by its id."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(100), primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int] = mapped_column(BigInteger)
    kinds: Mapped[list[str]] = mapped_column(JSON)
    labels: Mapped[list[str]] = mapped_column(JSON)
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    lease_seconds: Mapped[float] = mapped_column(Float(53))
    draining: Mapped[bool] = mapped_column(default=False)
    started_at: Mapped[datetime]
    last_seen: Mapped[datetime] = mapped_column(index=True)
    stopped_at: Mapped[datetime | None]


class PlanNameRow(Base):
    """A name of a model and the plan that bears it now. Neither the plan nor the model can be deleted meanwhile.

    ``version`` is that of the line of the trail that gave the name.
    """

    __tablename__ = "plan_names"

    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True, index=True)
    plan_id: Mapped[str] = mapped_column(ForeignKey("plans.id"), index=True)
    version: Mapped[int] = mapped_column(Integer)
    since: Mapped[datetime]
    who: Mapped[str] = mapped_column(String(300))
    why: Mapped[str] = mapped_column(String(500))


class PlanPinRow(Base):
    """A pinned plan: the foreign key keeps it from being deleted, whoever tries."""

    __tablename__ = "plan_pins"

    plan_id: Mapped[str] = mapped_column(ForeignKey("plans.id"), primary_key=True)
    since: Mapped[datetime]
    who: Mapped[str] = mapped_column(String(300))
    why: Mapped[str] = mapped_column(String(500))


class PlanEventRow(Base):
    """The trail: what was done to the names and pins of plans, by whom and why. Rows are only ever added.

    They refer to nothing, so they stay when plan and model are gone. Of two that move a name at once, one breaks the unique
    constraint of its versions.
    """

    __tablename__ = "plan_events"
    __table_args__ = (
        UniqueConstraint("model_id", "name", "version"),
        Index("ix_plan_events_model_id_id", "model_id", "id"),
        Index("ix_plan_events_plan_id_id", "plan_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    at: Mapped[datetime]
    who: Mapped[str] = mapped_column(String(300))
    action: Mapped[str] = mapped_column(String(20))
    model_id: Mapped[str] = mapped_column(String(64))
    plan_id: Mapped[str] = mapped_column(String(32))
    name: Mapped[str | None] = mapped_column(String(100))
    version: Mapped[int | None] = mapped_column(Integer)
    supersedes: Mapped[str | None] = mapped_column(String(32))
    why: Mapped[str] = mapped_column(String(500))


class EvaluationRow(Base):
    """An assignment measured on held-out text: KL, perplexity, top-1 agreement and router flips, each with its standard error."""

    __tablename__ = "evaluations"
    __table_args__ = (UniqueConstraint("job_id", "label"),)

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), index=True)
    plan_id: Mapped[str | None] = mapped_column(ForeignKey("plans.id", ondelete="CASCADE"), index=True)
    calibration_id: Mapped[str] = mapped_column(ForeignKey("calibration_sets.id"))
    label: Mapped[str] = mapped_column(String(100))
    size_bits: Mapped[int] = mapped_column(BigInteger)
    effective_bits: Mapped[float] = mapped_column(Float(53))
    kl: Mapped[float] = mapped_column(Float(53))
    kl_error: Mapped[float | None] = mapped_column(Float(53))
    perplexity: Mapped[float] = mapped_column(Float(53))
    perplexity_error: Mapped[float | None] = mapped_column(Float(53))
    reference_perplexity: Mapped[float] = mapped_column(Float(53))
    reference_perplexity_error: Mapped[float | None] = mapped_column(Float(53))
    top1_agreement: Mapped[float] = mapped_column(Float(53))
    top1_error: Mapped[float | None] = mapped_column(Float(53))
    router_flips: Mapped[float | None] = mapped_column(Float(53))
    router_flips_error: Mapped[float | None] = mapped_column(Float(53))
    sequences: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class DeviceRow(Base):
    """A device that a user stored. Nothing refers to it: plans carry what they were made with.

    ``facts`` is the profile as REST takes it, ``digest`` of profile and table together. ``latencies`` is the measured table, the
    JSON that REST takes, zlib-compressed; null where nothing was measured.
    """

    __tablename__ = "devices"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    facts: Mapped[dict[str, Any]]
    digest: Mapped[str] = mapped_column(String(64))
    latencies: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    measured_entries: Mapped[int] = mapped_column(Integer, default=0)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class ApiKeyRow(Base):
    """A key of the REST service. The key itself is with its owner; here is its SHA-256.

    ``id`` is the readable part of the key. Rows are never deleted: a revoked key says who could do what, and when.
    """

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    scopes: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class IdempotentAnswerRow(Base):
    """The answer to a POST that carried an ``Idempotency-Key``, written in the transaction of what the POST did.

    ``owner`` is the id of the API key, empty for a request without one. ``body`` is the answer's, zlib-compressed.
    """

    __tablename__ = "idempotent_answers"

    owner: Mapped[str] = mapped_column(String(32), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    status: Mapped[int] = mapped_column(Integer)
    headers: Mapped[dict[str, Any]]
    body: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
