"""Logs go to standard error, so that standard output stays for answers: readable lines on a terminal, JSON lines elsewhere."""

import logging
import sys

import structlog
from structlog.types import Processor


def configure_logs(level: str = "INFO") -> None:
    """Set up structlog for this process; call it once, where the process starts.

    Args:
        level: least severity that is logged, ``DEBUG`` to ``ERROR``.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if sys.stderr.isatty():
        last: list[Processor] = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    else:
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
