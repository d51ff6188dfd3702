"""The repository of cells: set-based writes and reads, no object per cell on the way out.

Writes send whole columns to the driver: SQLite by ``executemany``, PostgreSQL by ``unnest`` of arrays; SQLAlchemy's own
``executemany`` spends ten times as long in the preparation of parameters. Reads stream straight into arrays.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Insert, Row, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from planner.cells import Cell, ProbeSetting
from planner.curves import Curves
from planner.errors import ConflictError, InvalidRequestError, NotFoundError
from planner.storage.database import Database
from planner.storage.tables import CellRow, LayerRow, MeasuredFormatRow, ModelRow, ProbeSettingRow, utc_now
from sensitivity.formats.abstract import AbstractFormat
from sensitivity.formats.candidate import FormatT
from sensitivity.statistics import CellStatus

_CHUNK = 20_000
_ID_BYTES = 240
"""About what a layer's id takes of memory with the layer's name."""

_UPSERT = """
INSERT INTO cells (
  measured_format_id, layer_id, status, loss, standard_error, samples, total, total_squares, drift, job_id, measured_at)
{values}
ON CONFLICT (measured_format_id, layer_id) DO UPDATE SET
  status = excluded.status, loss = excluded.loss, standard_error = excluded.standard_error, samples = excluded.samples,
  total = excluded.total, total_squares = excluded.total_squares, drift = excluded.drift, job_id = excluded.job_id,
  measured_at = excluded.measured_at
"""
_SQLITE_UPSERT = _UPSERT.format(values="VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
_POSTGRESQL_UPSERT = _UPSERT.format(
    values="""
SELECT c.*, %s::varchar, %s::timestamptz FROM unnest(
  %s::bigint[], %s::bigint[], %s::varchar[], %s::float8[], %s::float8[], %s::float8[], %s::float8[], %s::float8[], %s::float8[]
) AS c"""
)
# A cell without a number travels as infinity, which no stored number is; SQLite turns NaN into NULL. PostgreSQL sends each
# column as the bytes of its own wire format (big-endian): half the time of an array of numbers.
_SQLITE_COLUMN = """
SELECT layer_id, ifnull(loss, 9e999), ifnull(standard_error, 9e999) FROM cells WHERE measured_format_id = ?"""
_POSTGRESQL_COLUMN = """
SELECT string_agg(int8send(layer_id), ''), string_agg(float8send(coalesce(loss, 'inf')), ''),
  string_agg(float8send(coalesce(standard_error, 'inf')), '')
FROM cells WHERE measured_format_id = %s"""

_BY_ID = select(ModelRow.id).where(ModelRow.id == bindparam("model"))
_BY_NAME = select(ModelRow.id).where(ModelRow.name == bindparam("model")).order_by(ModelRow.created_at.desc()).limit(1)
_VERSION = (
    select(
        ModelRow.id,
        ModelRow.name,
        ModelRow.created_at,
        ModelRow.rest.is_not(None),
        ModelRow.tokenizer_bytes,
        MeasuredFormatRow.id,
        MeasuredFormatRow.measured_at,
    )
    .outerjoin(MeasuredFormatRow, MeasuredFormatRow.model_id == ModelRow.id)
    .where(ModelRow.id == func.coalesce(_BY_ID.scalar_subquery(), _BY_NAME.scalar_subquery()))
    .order_by(MeasuredFormatRow.id)
)


def store_cells(
    session: Session, model_id: str, setting: ProbeSetting, cells: Iterable[Cell], *, job_id: str | None = None
) -> int:
    """Insert cells, or replace those of the same identity, within the session's transaction.

    Args:
        session: the caller's transaction.
        model_id: fingerprint of a registered model.
        setting: how the cells were measured.
        cells: measurements; of two for one (layer, format) the later wins.
        job_id: the job that measured them.

    Returns:
        How many cells were stored.

    Raises:
        InvalidRequestError: a layer that the model does not have.
        ConflictError: the setting's id is stored with other facts.
    """
    now = utc_now()
    ids = layer_ids(session, model_id)
    by_format: defaultdict[tuple[str, str], dict[str, Cell]] = defaultdict(dict)
    for cell in cells:
        by_format[cell.format_identity, cell.format][cell.layer] = cell
    if not by_format:
        return 0
    _ensure_setting(session, setting)
    numbers = _ensure_measured_formats(session, model_id, setting.id, by_format, now)
    rows = (
        (numbers[identity], ids[layer], *_values(cell))
        for (identity, _), column in sorted(by_format.items(), key=lambda item: numbers[item[0][0]])
        for layer, cell in column.items()
    )
    try:
        _upsert(session, rows, job_id=job_id, now=now)
    except KeyError as error:
        msg = f"the model has no layer {error.args[0]!r}; see bitplan models layers, or /v1/models/{model_id}/layers"
        raise InvalidRequestError(msg, layer=error.args[0]) from error
    return sum(len(column) for column in by_format.values())


def load_curves(
    session: Session,
    model_id: str,
    setting_id: str,
    formats: Sequence[FormatT],
    layers: Sequence[str] | None = None,
) -> Curves[FormatT]:
    """The error curves of a model in one probe setting.

    Args:
        session: the caller's transaction.
        model_id: fingerprint of the model.
        setting_id: ``ProbeSetting.id``.
        formats: candidate formats, second axis; matched by content, not by name.
        layers: names of the layers, first axis; every layer in model order if ``None``.

    Returns:
        Arrays of shape ``(layers, formats)``: NaN where there is no number, an empty status where nobody measured.

    Raises:
        InvalidRequestError: a layer that the model does not have.
    """
    ids = layer_ids(session, model_id)
    names = tuple(ids) if layers is None else tuple(layers)
    unknown = next((name for name in names if name not in ids), None)
    if unknown is not None:
        msg = f"the model has no layer {unknown!r}; see bitplan models layers, or /v1/models/{model_id}/layers"
        raise InvalidRequestError(msg, layer=unknown)
    positions = _Positions(np.array([ids[name] for name in names], dtype=np.int64))
    shape = (len(names), len(formats))
    loss, error, status = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, dtype="<U17")
    measured = {row.format_identity: row for row in measured_formats(session, model_id, setting_id)}
    for k, fmt in enumerate(formats):
        if fmt.identity in measured:
            _fill_column(_column(session, measured[fmt.identity]), positions, (loss[:, k], error[:, k], status[:, k]))
    return Curves(names, tuple(formats), loss, error, status)


def load_cells(session: Session, model_id: str, setting_id: str, formats: Iterable[AbstractFormat]) -> list[Cell]:
    """The cells of a model in one probe setting one by one, with their statistics; formats matched by content."""
    wanted = {fmt.identity for fmt in formats}
    columns = (CellRow.status, CellRow.loss, CellRow.standard_error, CellRow.samples, CellRow.total, CellRow.total_squares)
    found = []
    for measured in measured_formats(session, model_id, setting_id):
        query = select(LayerRow.name, *columns, CellRow.drift).join(LayerRow, LayerRow.id == CellRow.layer_id)
        if measured.format_identity in wanted:
            found += [
                Cell(layer, measured.format, measured.format_identity, CellStatus(status), loss, error, n, total, squares, drift)
                for layer, status, loss, error, n, total, squares, drift in session.execute(
                    query.where(CellRow.measured_format_id == measured.id)
                )
            ]
    return found


def measured_formats(session: Session, model_id: str, setting_id: str | None = None) -> list[MeasuredFormatRow]:
    """Which formats were measured for a model (in one setting), oldest first: a handful of rows, however many cells."""
    query = select(MeasuredFormatRow).where(MeasuredFormatRow.model_id == model_id).order_by(MeasuredFormatRow.id)
    if setting_id is not None:
        query = query.where(MeasuredFormatRow.setting_id == setting_id)
    return list(session.scalars(query))


def measurements_version(session: Session, model: str) -> tuple[tuple[Any, ...], ...]:
    """What a model's measurements are as of now: equal as long as no cell of it was written, whoever writes; empty for no model.

    One query over a handful of rows. Every write of cells sets its columns' ``measured_at`` in one transaction with the cells
    and what belongs to them, so whoever reads them *after* this reads these or newer ones. A model that was registered anew has
    another ``created_at``, or facts that it had not; one whose tokenizer became another has other bytes of it.

    Args:
        session: the caller's transaction.
        model: id, or name (the newest of that name).
    """
    return tuple(tuple(row) for row in session.connection().execute(_VERSION, {"model": model}))


def count_cells(session: Session, measured_format_id: int) -> int:
    """How many layers have a cell of this measured format: one walk along the primary key."""
    return session.execute(select(func.count()).where(CellRow.measured_format_id == measured_format_id)).scalar_one()


def layer_ids(session: Session, model_id: str) -> Mapping[str, int]:
    """Ids of the model's layers by their names, in model order; remembered until the model is registered anew.

    Raises:
        NotFoundError: the model is not there any more.
    """
    registered = _registered_at(session, model_id)
    found = Database.of(session).memory.recall(
        ("layer ids", model_id),
        lambda: _read_layer_ids(session, model_id),
        size=lambda made: _ID_BYTES * len(made) or None,
        version=registered,
        waiting=True,
    )
    if not found:
        _registered_at(session, model_id)  # it may have been deleted before its layers were read
    return found


def _registered_at(session: Session, model_id: str) -> datetime:
    found = session.scalar(select(ModelRow.created_at).where(ModelRow.id == model_id))
    if found is None:
        msg = f"model {model_id!r} was deleted at this moment: register it again"
        raise NotFoundError(msg, model=model_id)
    return found


def _read_layer_ids(session: Session, model_id: str) -> dict[str, int]:
    query = select(LayerRow.name, LayerRow.id).where(LayerRow.model_id == model_id).order_by(LayerRow.position)
    rows: Any = session.connection().execute(query).cursor  # the driver's own rows: no object for each
    return dict(rows)


class _Positions:
    """From layer ids to positions on the first axis."""

    def __init__(self, ids: NDArray[np.int64]) -> None:
        self._order = np.argsort(ids)
        self._sorted = ids[self._order]

    def find(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
        """Which of the ids are asked for, and the positions of those."""
        if not len(self._sorted):
            return np.zeros(len(ids), dtype=np.bool_), np.zeros(0, dtype=np.intp)
        slots = np.minimum(np.searchsorted(self._sorted, ids), len(self._sorted) - 1)
        wanted = self._sorted[slots] == ids
        return wanted, self._order[slots[wanted]]


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    """The cells of one measured format, read-only.

    Attributes:
        layers: ids of the layers, int64 (cells,).
        loss: float64 (cells,); infinity where there is no number.
        error: likewise.
        failed: ids of the layers without a number, int64 (failed,).
        reasons: their statuses, text (failed,).
    """

    layers: NDArray[np.int64]
    loss: NDArray[np.float64]
    error: NDArray[np.float64]
    failed: NDArray[np.int64]
    reasons: NDArray[np.str_]

    @property
    def bytes(self) -> int:
        """Memory of the arrays."""
        return sum(array.nbytes for array in (self.layers, self.loss, self.error, self.failed, self.reasons))


def _column(session: Session, measured: MeasuredFormatRow) -> _Column:
    """Remembered until cells of the column are written: curves of a large model are read for its pictures and for its plans."""
    return Database.of(session).memory.recall(
        ("cells", measured.model_id, measured.setting_id, measured.format_identity),
        lambda: _make_column(session, measured.id),
        size=lambda made: made.bytes,
        version=(measured.id, measured.measured_at),
        waiting=True,
    )


def _make_column(session: Session, number: int) -> _Column:
    layers, loss, error = _read_column(session, number)
    reasons: dict[int, str] = {}
    if np.isinf(loss).any():
        query = select(CellRow.layer_id, CellRow.status).where(CellRow.measured_format_id == number, CellRow.loss.is_(None))
        reasons = {layer: status for layer, status in session.execute(query)}  # noqa: C416  (mypy takes no dict of rows)
    failed, texts = np.array(list(reasons), dtype=np.int64), np.array(list(reasons.values()), dtype=np.str_)
    return _Column(layers, loss, error, failed, texts)


def _fill_column(column: _Column, positions: _Positions, arrays: tuple[NDArray[Any], ...]) -> None:
    loss, error, status = arrays
    wanted, rows = positions.find(column.layers)
    losses, errors = column.loss[wanted], column.error[wanted]
    loss[rows] = np.where(np.isinf(losses), np.nan, losses)
    error[rows] = np.where(np.isinf(errors), np.nan, errors)
    status[rows] = CellStatus.MEASURED.value
    wanted, rows = positions.find(column.failed)
    status[rows] = column.reasons[wanted]


def _read_column(session: Session, number: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Layer ids, losses and standard errors of one measured format, infinity for none."""
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        found: Row[Any] = connection.exec_driver_sql(_POSTGRESQL_COLUMN, (number,)).one()
        ids, losses, errors = (bytes(column or b"") for column in found)
        return (
            np.frombuffer(ids, dtype=">i8").astype(np.int64),
            np.frombuffer(losses, dtype=">f8").astype(np.float64),
            np.frombuffer(errors, dtype=">f8").astype(np.float64),
        )
    cursor: Any = connection.exec_driver_sql(_SQLITE_COLUMN, (number,)).cursor
    table = np.fromiter(chain.from_iterable(cursor), dtype=np.float64).reshape(-1, 3)  # ids are exact below 2^53
    return table[:, 0].astype(np.int64), table[:, 1].copy(), table[:, 2].copy()


def _values(cell: Cell) -> tuple[str, float | None, float | None, float, float | None, float | None, float | None]:
    return cell.status.value, cell.loss, cell.standard_error, cell.samples, cell.total, cell.total_squares, cell.drift


def _measured_format_ids(session: Session, model_id: str, setting_id: str) -> dict[str, int]:
    return {row.format_identity: row.id for row in measured_formats(session, model_id, setting_id)}


def _insert(session: Session, table: type[Any]) -> Any:
    """The dialect's INSERT, which knows ON CONFLICT."""
    return (postgresql if session.connection().dialect.name == "postgresql" else sqlite).insert(table)


def _ensure_setting(session: Session, setting: ProbeSetting) -> None:
    statement: Insert = (
        _insert(session, ProbeSettingRow)
        .values(
            id=setting.id,
            probe=setting.probe,
            code_version=setting.code_version,
            rounding=setting.rounding,
            rounding_version=setting.rounding_version,
            calibration_id=setting.calibration_id,
            parameters=dict(setting.parameters),
            in_nats=setting.in_nats,
            additive=setting.additive,
        )
        .on_conflict_do_nothing(index_elements=["id"])
    )
    session.execute(statement)
    stored = session.get_one(ProbeSettingRow, setting.id)
    if (stored.in_nats, stored.additive) != (setting.in_nats, setting.additive):
        msg = (
            f"probe {setting.probe!r} version {setting.code_version} is stored with in_nats={stored.in_nats}, "
            f"additive={stored.additive}; raise its code_version when what its loss means changes"
        )
        raise ConflictError(msg)


def _ensure_measured_formats(
    session: Session, model_id: str, setting_id: str, formats: Iterable[tuple[str, str]], now: datetime
) -> dict[str, int]:
    rows = [
        {"model_id": model_id, "setting_id": setting_id, "format": name, "format_identity": identity, "measured_at": now}
        for identity, name in sorted(formats)  # one order for everybody: no deadlock between two jobs
    ]
    statement = _insert(session, MeasuredFormatRow)
    statement = statement.on_conflict_do_update(
        index_elements=["model_id", "setting_id", "format_identity"], set_={"measured_at": statement.excluded.measured_at}
    )
    session.execute(statement, rows)
    session.expire_all()
    return _measured_format_ids(session, model_id, setting_id)


def _upsert(session: Session, rows: Iterator[tuple[Any, ...]], *, job_id: str | None, now: datetime) -> None:
    connection = session.connection()
    while chunk := list(islice(rows, _CHUNK)):
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(_POSTGRESQL_UPSERT, (job_id, now, *(list(column) for column in zip(*chunk, strict=True))))
        else:
            stamp = now.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
            connection.exec_driver_sql(_SQLITE_UPSERT, [(*row, job_id, stamp) for row in chunk])
