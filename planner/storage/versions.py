"""The version of the schema: upgrade to this bitplan's, and refuse any other."""

import logging
from functools import cache

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from planner.errors import SchemaVersionError

_UPGRADE_LOCK = 0x62_69_74_70_6C_61_6E  # "bitplan"


def upgrade(connection: Connection) -> None:
    """Run the missing migrations inside the connection's open transaction; a second process waits for the first."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
    config = _config()
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and not _known(_scripts(), current):
        raise _newer(current)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def check(connection: Connection) -> None:
    """Raise ``SchemaVersionError`` unless the schema is exactly this version's."""
    script = _scripts()
    current = MigrationContext.configure(connection).get_current_revision()
    if current == script.get_current_head():
        return
    if current is None:
        msg = "the database has no tables yet; run `bitplan db upgrade`"
        raise SchemaVersionError(msg)
    if not _known(script, current):
        raise _newer(current)
    msg = f"the database is of an older version ({current}); run `bitplan db upgrade`"
    raise SchemaVersionError(msg, current=current, wanted=script.get_current_head())


@cache
def _scripts() -> ScriptDirectory:
    """The migrations, read once: whoever asks whether the service is ready asks often."""
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    """Alembic's configuration: the scripts by the name of their package, which nothing imports."""
    config = Config()
    config.set_main_option("script_location", "migrations:")
    config.set_main_option("file_template", "%%(year)d_%%(month).2d_%%(day).2d_%%(slug)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return config


def _known(script: ScriptDirectory, revision: str) -> bool:
    return any(known.revision == revision for known in script.walk_revisions())


def _newer(revision: str) -> SchemaVersionError:
    msg = f"the database is of a newer version ({revision}) than this bitplan; install the newer bitplan here"
    return SchemaVersionError(msg, current=revision)
