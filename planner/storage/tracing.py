"""A span for every SQL statement that runs inside a span that is recorded: its text, never its values.

The instrumentation package of OpenTelemetry ends at SQLAlchemy 2.0; this is the part of it that is needed here.
"""

from typing import Any

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode
from sqlalchemy import Connection, Engine, ExceptionContext, event

from planner.telemetry import tracer

_SPAN = "bitplan_span"
_OUR_OWN = ("PRAGMA", "BEGIN")


def trace_statements(engine: Engine) -> None:
    """Follow the statements of an engine; as good as free while nobody records."""
    event.listen(engine, "before_cursor_execute", _begin)
    event.listen(engine, "after_cursor_execute", _end)
    event.listen(engine, "handle_error", _fail)


def _begin(connection: Connection, _cursor: Any, statement: str, *_rest: Any) -> None:
    if not trace.get_current_span().is_recording() or statement.startswith(_OUR_OWN):
        return
    operation = statement.split(maxsplit=1)[0].upper()
    attributes = {"db.system.name": connection.dialect.name, "db.operation.name": operation, "db.query.text": statement}
    connection.info[_SPAN] = tracer.start_span(operation, kind=SpanKind.CLIENT, attributes=attributes)


def _end(connection: Connection, *_rest: Any) -> None:
    span: Span | None = connection.info.pop(_SPAN, None)
    if span is not None:
        span.end()


def _fail(failure: ExceptionContext) -> None:
    if failure.connection is None:
        return
    span: Span | None = failure.connection.info.pop(_SPAN, None)
    if span is not None:
        span.set_attribute("error.type", type(failure.original_exception).__name__)
        span.set_status(StatusCode.ERROR)
        span.end()
