"""One of several processes that answer requests on one port: `bitplan serve --processes N`."""

import multiprocessing

from fastapi import FastAPI

from api.app import create_app
from planner.logs import configure_service_logs
from planner.settings import Settings
from planner.worker.parent import follow_parent


def create_process_app() -> FastAPI:
    """The service in a child of `bitplan serve`: it logs as its parent does, and ends when its parent is gone.

    Each process has a memory, a pool of connections, metrics and limits of its own; what counts is in the database.

    Raises:
        InvalidRequestError: an environment variable without a usable value.
        StorageError: the database URL is malformed.
    """
    settings = Settings.load()
    configure_service_logs(settings)
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        follow_parent(parent.pid)
    return create_app(settings)
