"""What planning tells whoever watches this process: a report of every plan that was made, and spans for OpenTelemetry.

Reports go to the listener of the request that asked for the plan; spans go nowhere until a process sets a tracer provider.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from opentelemetry import trace

tracer = trace.get_tracer("bitplan")


@dataclass(frozen=True, slots=True)
class PlanReport:
    """How a plan came about.

    Attributes:
        solver: which solver found it.
        status: the solver's outcome, one of ``solvers.Status``.
        gap: (objective − lower bound) / |objective|; 0 if proven optimal.
        seconds: wall time of the solve.
    """

    solver: str
    status: str
    gap: float
    seconds: float


PlanListener = Callable[[PlanReport], None]
_listener: ContextVar[PlanListener | None] = ContextVar("bitplan_plan_listener", default=None)


@contextmanager
def plan_listener(listener: PlanListener) -> Iterator[None]:
    """Hand the reports of all plans that are made inside the block (and in threads that copy its context) to the listener."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def report_plan(report: PlanReport) -> None:
    """Tell the listener, if there is one."""
    listener = _listener.get()
    if listener is not None:
        listener(report)
