"""`bitplan db upgrade`, `db check`, `db backup`. Opening the database as other commands do may upgrade it; these do not."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from planner.cli.reporting import BAD_INPUT, AsJson, in_bytes, out, say, show_json, show_table
from planner.cli.workspace import stay_here
from planner.settings import Settings
from planner.storage.backups import back_up
from planner.storage.checkup import check_up
from planner.storage.database import Database

db = typer.Typer(no_args_is_help=True, help="The database: its schema, its soundness, copies of it.")


@db.command("upgrade")
def upgrade(as_json: AsJson = False) -> None:
    """Bring the schema to this version; once per release, before workers and services start."""
    database = _database()
    database.upgrade()
    if as_json:
        show_json({"upgraded": repr(database)})
    else:
        out.print(f"up to date: {database!r}", markup=False, highlight=False)


@db.command("check")
def check(as_json: AsJson = False) -> None:
    """Read the whole database: version, structure, references, rows. Exit code 2 if something is wrong."""
    database = _database()
    found = check_up(database)
    if as_json:
        show_json({"database": repr(database), **dataclasses.asdict(found)})
    else:
        show_table("rows", ["table", "rows"], [[name, f"{rows:,}"] for name, rows in found.rows.items()])
        out.print(
            f"{database!r}: {in_bytes(found.size_bytes)}, {'damaged' if found.faults else 'sound'}", markup=False, highlight=False
        )
        for fault in found.faults:
            say(fault)
    if found.faults:
        raise typer.Exit(BAD_INPUT)


@db.command("backup")
def backup(
    file: Annotated[Path, typer.Argument(help="File to write; it must not exist yet.")],
    as_json: AsJson = False,
) -> None:
    """Copy the database to a file while services and workers go on; PostgreSQL by pg_dump."""
    size = back_up(_database(), file)
    if as_json:
        show_json({"file": str(file), "bytes": size})
    else:
        out.print(f"{in_bytes(size)} in {file}", markup=False, highlight=False)


def _database() -> Database:
    stay_here()
    return Database(Settings.load().resolved_database_url)
