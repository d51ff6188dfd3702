"""Registered models: described from configuration and headers, stored once per fingerprint."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from sqlalchemy import BigInteger, ScalarSelect, Select, cast, delete, func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from planner.containers.gguf_fields import WRITABLE
from planner.containers.gguf_vocabulary import tokenizer_bytes
from planner.errors import ConflictError
from planner.jobs.rows import UNFINISHED
from planner.schemas.models import LayerDocument, LayerList, Model, ModelPage
from planner.services.confinement import confine, confine_found
from planner.services.pagination import page
from planner.services.plan_pins import refuse_kept_plans
from planner.services.planning_inputs import find_model, load_layers
from planner.storage.database import Database
from planner.storage.tables import JobRow, LayerRow, ModelRow
from sensitivity.checkpoint import describe
from sensitivity.checkpoint.description import Layer, ModelDescription, SourceKind

_NAME_LENGTH = 200
_TOTALS_BYTES: Final = 200


def inspect(source: str, *, revision: str | None = None, roots: Sequence[Path] | None = None) -> ModelDescription:
    """Read a checkpoint's configuration and headers. Needs no database: do it before a transaction begins.

    Args:
        source: directory, GGUF file or hub id.
        revision: revision of a hub id.
        roots: folders that paths must lie in; ``None`` allows every path.

    Raises:
        InvalidRequestError: a path outside the roots.
        CheckpointError: no such source, no weights, an unknown architecture, a corrupt header.
    """
    confine(source, roots, hub_ids=True)
    description = describe(source, revision=revision)
    confine_found(description.path, roots, source=source)
    if description.kind is SourceKind.SAFETENSORS and description.architecture in WRITABLE:
        known = tokenizer_bytes(Path(description.path), description.embedding_rows)
        return dataclasses.replace(description, tokenizer_bytes=known)
    return description


def register(session: Session, description: ModelDescription, *, name: str | None = None) -> tuple[Model, bool]:
    """Store a described checkpoint; the same files give the same model, with the tokenizer that lies beside them now.

    Args:
        session: a write transaction.
        description: what ``inspect`` read.
        name: name to call it by; by default the last part of the source.

    Returns:
        The model, and whether it is new.

    Raises:
        ConflictError: the same files are registered under another name than the one asked for.
    """
    known = session.get(ModelRow, description.fingerprint)
    if known is not None:
        return _as_registered(session, known, description, name), False
    try:
        with session.begin_nested():
            _store(session, description, name or default_name(description))
    except IntegrityError:
        known = session.get_one(ModelRow, description.fingerprint)
        return _as_registered(session, known, description, name), False
    return get_model(session, description.fingerprint), True


def get_model(session: Session, key: str) -> Model:
    """A model by id, or by name.

    Raises:
        NotFoundError: neither exists.
    """
    row = find_model(session, key)
    layers, weights = Database.of(session).memory.recall(
        ("layer totals", row.id),  # layers are what the id says
        lambda: tuple(session.execute(select(*_totals(row.id))).one()),
        size=lambda made: _TOTALS_BYTES if made[0] else None,
    )
    return _document(row, layers, weights)


def list_models(session: Session, *, cursor: str | None = None, limit: int = 50) -> ModelPage:
    """Registered models, newest first.

    Raises:
        InvalidRequestError: a cursor that no page gave.
    """
    rows, following = page(session, _with_totals(), key=(ModelRow.created_at, ModelRow.id), cursor=cursor, limit=limit)
    return ModelPage(items=[_document(*row) for row in rows], next=following)


def list_layers(session: Session, key: str) -> LayerList:
    """The layers of a model, in model order.

    Raises:
        NotFoundError: no such model.
    """
    row = find_model(session, key)
    return LayerList(model=row.id, items=[_layer_document(layer) for layer in load_layers(session, row.id)])


def delete_model(session: Session, key: str) -> None:
    """Forget a model with its layers, cells, jobs, plans and evaluations. The checkpoint on disk is not touched.

    Raises:
        NotFoundError: no such model.
        ConflictError: jobs of the model have not ended, or plans of it are pinned or bear names.
    """
    row = find_model(session, key)
    session.execute(select(ModelRow.id).where(ModelRow.id == row.id).with_for_update())  # nobody queues a job of it from now on
    jobs = list(session.scalars(select(JobRow.id).where(JobRow.model_id == row.id, JobRow.state.in_(UNFINISHED))))
    if jobs:
        msg = (
            f"{len(jobs)} jobs of model {row.name!r} have not ended: cancel them first (bitplan jobs cancel, or POST "
            f"/v1/jobs/ID/cancel)"
        )
        raise ConflictError(msg, jobs=jobs[:20])
    refuse_kept_plans(session, row.id)
    try:
        session.execute(delete(ModelRow).where(ModelRow.id == row.id))
    except IntegrityError as error:
        msg = f"a plan of model {row.name!r} was pinned or named at this moment: the model stays"
        raise ConflictError(msg, model=row.id) from error


def _as_registered(session: Session, known: ModelRow, description: ModelDescription, name: str | None) -> Model:
    if name is not None and name != known.name:
        msg = f"these files are registered already as {known.name!r}: use that name, or delete that model first"
        raise ConflictError(msg, model=known.id)
    if known.kv_heads is None:  # registered before heads were kept
        known.heads, known.kv_heads = description.heads, description.kv_heads
    if known.rest is None:  # registered before files were counted
        known.rest, known.tokenizer_bytes, known.unquantized_bytes = (
            _stored_rest(description),
            description.tokenizer_bytes,
            description.unquantized_bytes,
        )
    if known.path == description.path:  # its template may be another one: the fingerprint is of the weights
        known.tokenizer_bytes = description.tokenizer_bytes
    return get_model(session, known.id)


def default_name(description: ModelDescription) -> str:
    """Last part of the source (of the resolved path for ``.`` and ``..``), without ``.gguf``."""
    last = Path(description.source).name
    name = Path(description.path).name if last in ("", "..") else last
    return name.removesuffix(".gguf")[:_NAME_LENGTH] or "model"


def _store(session: Session, description: ModelDescription, name: str) -> None:
    facts = {field.name: getattr(description, field.name) for field in dataclasses.fields(description)}
    layers: Sequence[Layer] = facts.pop("layers")
    facts["rest"] = _stored_rest(description)
    identity = facts.pop("fingerprint")
    session.add(ModelRow(id=identity, name=name, **facts))
    session.flush()
    rows = [{"model_id": identity, "position": at, **dataclasses.asdict(layer)} for at, layer in enumerate(layers)]
    if rows:
        session.execute(insert(LayerRow), rows)


def _stored_rest(description: ModelDescription) -> list[tuple[str, list[int]]] | None:
    """Names and shapes of what is of no layer, as the database keeps them."""
    rest = description.rest
    return None if rest is None else [(tensor.name, list(tensor.shape)) for tensor in rest]


def _with_totals() -> Select[Any]:
    """Models with the number of their layers and the sum of the layers' weights, counted for the rows asked for only."""
    return select(ModelRow, *(total.correlate(ModelRow) for total in _totals(ModelRow.id)))


def _totals(model: Any) -> list[ScalarSelect[Any]]:
    """Layers of a model, and the sum of their weights."""
    weights = func.sum(cast(LayerRow.out_features, BigInteger) * cast(LayerRow.in_features, BigInteger))
    counted = (func.count(LayerRow.id), weights)
    return [select(total).where(LayerRow.model_id == model).scalar_subquery() for total in counted]


def _document(row: ModelRow, layers: int | None, weights: int | None) -> Model:
    return Model(
        id=row.id,
        name=row.name,
        source=row.source,
        revision=row.revision,
        kind=row.kind,
        architecture=row.architecture,
        dtype=row.dtype,
        blocks=row.blocks,
        layers=layers or 0,
        parameters=row.parameters,
        layer_parameters=int(weights or 0),
        unquantized_bytes=row.unquantized_bytes,
        kv_elements_per_token=row.kv_elements_per_token,
        vocab_size=row.vocab_size,
        context_length=row.context_length,
        created_at=row.created_at,
    )


def _layer_document(layer: Layer) -> LayerDocument:
    return LayerDocument(parameters=layer.parameters, **dataclasses.asdict(layer))


__all__ = ["default_name", "delete_model", "find_model", "get_model", "inspect", "list_layers", "list_models", "register"]
