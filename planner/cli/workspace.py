"""The database that a command works on."""

from functools import cache

from planner.settings import Settings
from planner.storage.database import Database


@cache
def settings() -> Settings:
    """Settings from the environment, read once."""
    return Settings.load()


@cache
def open_database() -> Database:
    """The database: the embedded SQLite file is created and upgraded on the way, a server's is only checked.

    Raises:
        StorageError: it cannot be reached, or a server's schema is of another version.
    """
    database = Database(settings().resolved_database_url)
    if database.is_sqlite:
        database.upgrade()
    else:
        database.check_version()
    return database
