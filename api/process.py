"""A process that answers requests: `bitplan serve`, or one of several on one port: `bitplan serve --processes N`."""

import gc
import multiprocessing
import sys
from typing import Final

from fastapi import FastAPI

from api.app import create_app
from planner.logs import configure_service_logs
from planner.settings import Settings
from planner.worker.parent import follow_parent

SWITCH_SECONDS: Final = 0.0002
"""How long a thread that makes a plan keeps the interpreter from the event loop, which needs it for microseconds at a time."""

YOUNG: Final = 10_000
"""Objects after which the collector looks for cycles: a plan makes hundreds and leaves none."""


def create_process_app() -> FastAPI:
    """The service in a process of its own. A child of `bitplan serve` logs as its parent does, and ends when its parent is gone.

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
    app = create_app(settings)
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()  # what is there now stays: modules, routes, schemas; nobody need look through it again and again
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
    return app
