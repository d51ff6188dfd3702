"""Who answers a command: this machine with its own database, or the service that ``--url`` names."""

import os
from contextvars import ContextVar
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer

from planner.cli.embedded import Embedded
from planner.cli.reporting import say
from planner.errors import InvalidRequestError
from planner.operations import AbstractOperations
from planner.settings import Settings
from planner.storage.database import Database

_SERVICE: ContextVar[AbstractOperations | None] = ContextVar("service", default=None)
_KEY_BYTES: Final = 4096
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


def choose_service(
    context: typer.Context,
    url: Annotated[
        str | None,
        typer.Option("--url", envvar="BITPLAN_URL", help="Ask the service at this URL, not this machine's own database."),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option("--key-file", envvar="BITPLAN_API_KEY_FILE", help="File that holds the service's API key."),
    ] = None,
) -> None:
    """Choose who answers the command that follows. A key comes from a file or ``BITPLAN_API_KEY``: others see arguments."""
    if not url:
        return
    from planner.client import Client

    key = _read_key(key_file)
    client = Client(url, api_key=key)
    address = urlsplit(url)
    if key is not None and address.scheme == "http" and address.hostname not in _LOOPBACK:
        say("warning: the API key goes over the network unencrypted; give a URL that begins with https://")
    context.call_on_close(client.close)
    context.call_on_close(partial(_SERVICE.reset, _SERVICE.set(client)))


def operations() -> AbstractOperations:
    """Who answers the operations that a command asks for."""
    return _SERVICE.get() or Embedded(open_database, settings())


def stay_here() -> None:
    """Refuse a command that works on this machine where a service was named.

    Raises:
        InvalidRequestError: ``--url`` or ``BITPLAN_URL`` is given.
    """
    if _SERVICE.get() is not None:
        msg = "this command works on the machine that it runs on: leave out --url, and unset BITPLAN_URL"
        raise InvalidRequestError(msg)


@cache
def settings() -> Settings:
    """Settings from the environment, read once: of commands that work on this machine.

    Raises:
        InvalidRequestError: the command was asked of a service, or a variable has no usable value.
    """
    stay_here()
    return Settings.load()


@cache
def open_database() -> Database:
    """The database of this machine: the embedded SQLite file is created and upgraded on the way, a server's is only checked.

    Raises:
        InvalidRequestError: the command was asked of a service.
        StorageError: it cannot be reached, or a server's schema is of another version.
    """
    database = Database(settings().resolved_database_url)
    if database.is_sqlite:
        database.upgrade()
    else:
        database.check_version()
    return database


def _read_key(path: Path | None) -> str | None:
    if path is None:
        return os.environ.get("BITPLAN_API_KEY", "").strip() or None
    try:
        with path.open() as file:
            return file.read(_KEY_BYTES).strip()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"cannot read an API key from {path}: name a file that holds nothing else (--key-file)"
        raise InvalidRequestError(msg) from error
