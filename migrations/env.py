"""Alembic's entry: on the connection that bitplan hands over, or, for developers' `alembic` commands, on the settings' database."""

from alembic import context
from sqlalchemy import Connection

from planner.settings import Settings
from planner.storage.database import Database
from planner.storage.tables import Base


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=True,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    _run(given)
else:
    database = Database(Settings.load().resolved_database_url)
    with database.engine.begin() as own:
        _run(own)
    database.close()
