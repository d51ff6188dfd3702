"""What a database driver's error means for the person who reads it."""

from collections.abc import Callable
from typing import Final, TypeVar

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, IntegrityError, NoResultFound
from sqlalchemy.orm.exc import ObjectDeletedError, StaleDataError

from planner.errors import ConflictError, StorageError

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
MEANWHILE: Final = (NoResultFound, ObjectDeletedError, StaleDataError, IntegrityError)
"""What is raised where another transaction deletes a row that this one has read, or counts on; see ``conflict_of``."""

_REFERENCES: Final = ("SQLITE_CONSTRAINT_FOREIGNKEY", "23503")
_UNREACHABLE = "Check that the server runs and that BITPLAN_DATABASE_URL points to it, then try again."


def storage_error(url: URL, error: BaseException) -> StorageError:
    """The driver's error as one sentence of what happened and one of what to do; the password is never in it."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    haystack = f"{type(error).__name__} {said}".lower()
    advice = next((text for words, text in _ADVICE if any(word in haystack for word in words)), _UNREACHABLE)
    return StorageError(f"the database {url.render_as_string(hide_password=True)} answered: {said.rstrip('.')}. {advice}")


def conflict_of(error: Exception) -> ConflictError | None:
    """One of ``MEANWHILE`` as a conflict with a deletion; ``None`` if it is an integrity error of another kind.

    A transaction sees what others commit between two of its statements (PostgreSQL), and so does the second of two that belong to
    one request: what was there may be gone.
    """
    if isinstance(error, IntegrityError):
        cause = error.orig
        if not {getattr(cause, "sqlite_errorname", None), getattr(cause, "sqlstate", None)} & set(_REFERENCES):
            return None
    msg = (
        "what this is about was deleted by somebody else at this moment, or came into use while it was to be deleted: "
        "nothing was changed; look what is there and ask again"
    )
    return ConflictError(msg)


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
