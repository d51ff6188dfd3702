"""What a job left in the database. The only module here that looks there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select

from planner.errors import StorageError
from planner.storage.database import Database
from planner.storage.tables import CellRow, JobRow, LayerRow, MeasuredFormatRow, UnitRow

Cells = Mapping[tuple[str, str], tuple[str, ...]]
"""(layer, format) → status and every number of the cell, in hexadecimal: equal means equal to the last bit."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is stored of a job.

    Attributes:
        results: unit → bytes of its result.
        cells: of the job's model.
    """

    results: Mapping[str, bytes]
    cells: Cells


@dataclass(slots=True)
class Watch:
    """Looks at the recorded units while the job runs: one that is recorded must never be recorded again.

    Attributes:
        url: the database.
        job: id of the job.
        twice: units whose record changed.
    """

    url: str
    job: str
    twice: set[str] = field(default_factory=set)
    _seen: dict[str, datetime | None] = field(default_factory=dict)

    def look(self) -> None:
        """Compare with what was seen; nothing happens while the database cannot be reached."""
        database = Database(self.url)
        query = select(UnitRow.key, UnitRow.finished_at).where(UnitRow.job_id == self.job, UnitRow.result.is_not(None))
        try:
            with database.read_session() as session:
                now = {row.key: row.finished_at for row in session.execute(query)}
        except StorageError:
            return
        finally:
            database.close()
        self.twice |= {key for key, time in self._seen.items() if now.get(key) != time}
        self._seen = now


def read(url: str, job: str) -> Record:
    """Everything that the job left.

    Raises:
        StorageError: the database cannot be reached.
    """
    database = Database(url)
    with database.read_session() as session:
        units = session.execute(select(UnitRow.key, UnitRow.result).where(UnitRow.job_id == job, UnitRow.result.is_not(None)))
        results = {key: result for key, result in units if result is not None}
        of_model = MeasuredFormatRow.model_id == session.get_one(JobRow, job).model_id
        query = select(LayerRow.name, MeasuredFormatRow.format, CellRow).join(LayerRow, CellRow.layer_id == LayerRow.id)
        rows = session.execute(query.join(MeasuredFormatRow, CellRow.measured_format_id == MeasuredFormatRow.id).where(of_model))
        cells = {(layer, fmt): _bits(cell) for layer, fmt, cell in rows}
    database.close()
    return Record(results, cells)


def _bits(cell: CellRow) -> tuple[str, ...]:
    numbers = (cell.loss, cell.standard_error, cell.samples, cell.total, cell.total_squares)
    return (cell.status, *("none" if number is None else number.hex() for number in numbers))
