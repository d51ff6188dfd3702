"""Logs go to standard error, so that standard output stays for answers: readable lines on a terminal, JSON lines elsewhere.

What other libraries log by ``logging`` (the web server, drivers) comes out in the same form. No secret leaves: see
``planner.redaction``.
"""

import asyncio
import logging
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Literal, TextIO, cast

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from planner.redaction import Redactor
from planner.settings import Settings

LogFormat = Literal["auto", "json", "text"]
_SERVER_LOGGERS = ("uvicorn.error", "py.warnings")


class _Lossy:
    """A file that loses what cannot be written: a disk that is full of logs, or a reader that is gone, stops nobody's work."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._file.flush()


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]  # (generic in the stubs alone)
    """Our handler of the root logger, so that a second configuration replaces the first and nobody else's."""


def configure_logs(level: str = "INFO", *, form: LogFormat = "auto", secrets: Iterable[str] = ()) -> None:
    """Set up structlog and ``logging`` for this process; call it once, where the process starts.

    Args:
        level: least severity that is logged, ``DEBUG`` to ``ERROR``. Other libraries are heard from ``WARNING`` on.
        form: ``json``, ``text``, or by whether standard error is a terminal.
        secrets: texts that must not be logged, whoever says them.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last = [*_rendering(form), _redacting(Redactor(secrets))]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, _Lossy(sys.stderr))),
        cache_logger_on_first_use=False,
    )
    handler = _Handler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    for former in [known for known in root.handlers if isinstance(known, _Handler)]:
        root.removeHandler(former)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)  # never below: SQLAlchemy would log every statement with its values


def configure_service_logs(settings: Settings) -> None:
    """Set up the logs of a process that runs for long: also of the web server, of warnings and of what nobody caught."""
    configure_logs(settings.log_level, form=settings.log_format, secrets=settings.secrets)
    for name in _SERVER_LOGGERS:
        logging.getLogger(name).setLevel(settings.log_level)
        logging.getLogger(name).addFilter(_is_news)
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def _is_news(record: logging.LogRecord) -> bool:
    """Not the traceback of an answer that a server which stops has cancelled: how many it cancels, it says before."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def _rendering(form: LogFormat) -> list[Processor]:
    if form == "text" or (form == "auto" and sys.stderr.isatty()):
        return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _redacting(redactor: Redactor) -> Processor:
    """The last processor: it gets the line as it would be written."""

    def redacted(_logger: WrappedLogger, _method: str, line: EventDict) -> str:
        return redactor(cast(str, line))

    return redacted


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    structlog.get_logger(__name__).critical("uncaught exception", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if issubclass(args.exc_type, SystemExit):  # ends a thread in silence, as without this hook
        return
    thread = args.thread.name if args.thread is not None else None
    trace = (args.exc_type, args.exc_value, args.exc_traceback)
    structlog.get_logger(__name__).critical("uncaught exception", thread=thread, exc_info=trace)
