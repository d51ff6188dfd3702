"""The worker beside `bitplan serve`; its settings come from the environment."""

import os
import sys
from typing import Final

from planner.errors import PlannerError
from planner.logs import configure_service_logs
from planner.settings import Settings
from planner.storage.database import Database
from planner.worker.clerk import Clerk, give_way
from planner.worker.idle_threads import let_waiting_threads_sleep
from planner.worker.parent import follow_parent

GRACE_SECONDS: Final = 20.0
"""Beside a service a step that has not ended by then is given back: before the service's own patience with it is over."""


def work(parent_pid: int | None) -> None:
    """Work until the parent is gone or a signal says stop.

    Args:
        parent_pid: process that this one does not outlive; ``None`` for a worker on its own.
    """
    if parent_pid is not None:
        follow_parent(parent_pid)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    let_waiting_threads_sleep()
    try:
        settings = Settings.load()
        configure_service_logs(settings)
        database = Database(settings.resolved_database_url)
        database.check_version()
    except PlannerError as error:
        sys.exit(f"bitplan worker: {error}")

    from planner.worker.process import make_worker  # torch: seconds, after everything that can fail at once

    worker = make_worker(database, settings, clerk=Clerk())
    worker.stop_on_signals()
    if parent_pid is not None:  # beside a service people come first
        worker.grace_seconds = GRACE_SECONDS
        give_way(settings.worker_niceness)
    worker.run()
