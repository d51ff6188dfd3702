"""What a database driver's error means for the person who reads it."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from planner.errors import StorageError

Found = TypeVar("Found")

_ADVICE: tuple[tuple[tuple[str, ...], str], ...] = (
    (("no such table", "undefinedtable", "no such column", "undefinedcolumn"), "Run `bitplan db upgrade`."),
    (
        ("readonly database", "read-only", "read-write mode"),
        "Make the file (and its folder) writable, or connect as a role that may write, to a server that is no standby.",
    ),
    (("disk is full", "no space left", "diskfull"), "Free some space on the disk of the database; nothing was half-written."),
    (("locked", "locknotavailable"), "Another process holds the database for very long; find it, or try again."),
    (("unable to open",), "Check that the folder exists and is writable, or run `bitplan db upgrade` to create the file."),
    (("not a database", "malformed"), "The file is damaged or is no SQLite database; restore a backup, or name another file."),
    (("password", "role", "authentication"), "Correct the user and password in BITPLAN_DATABASE_URL."),
    (
        ("permission denied", "insufficientprivilege"),
        "Grant the role of BITPLAN_DATABASE_URL the right to read and write all tables.",
    ),
    (("does not exist", "invalidcatalogname"), "Create the database, or correct its name in BITPLAN_DATABASE_URL."),
    (("deadlock", "serialization"), "Two requests met; try again."),
)
_UNREACHABLE = "Check that the server runs and that BITPLAN_DATABASE_URL points to it, then try again."


def storage_error(url: URL, error: BaseException) -> StorageError:
    """The driver's error as one sentence of what happened and one of what to do; the password is never in it."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    haystack = f"{type(error).__name__} {said}".lower()
    advice = next((text for words, text in _ADVICE if any(word in haystack for word in words)), _UNREACHABLE)
    return StorageError(f"the database {url.render_as_string(hide_password=True)} answered: {said.rstrip('.')}. {advice}")


def is_lost_connection(error: BaseException) -> bool:
    """Whether a connection that had worked broke, so that a new one may do: the server was restarted, or somebody ended it."""
    cause = error.__cause__
    return isinstance(error, StorageError) and isinstance(cause, DBAPIError) and cause.connection_invalidated


def once_more_if_lost(work: Callable[[], Found]) -> Found:
    """Do what may be done twice, again if its connection broke: connections in steady use are not asked whether they are alive.

    Raises:
        StorageError: the second time too, or for another reason.
    """
    try:
        return work()
    except StorageError as error:
        if not is_lost_connection(error):
            raise
    return work()
