"""What Prometheus reads at `/metrics`. Labels are route templates, states and names from our own lists: never ids or paths.

Every app has a registry of its own, so the figures are those of one process; services on several ports are a target each. With
`bitplan serve --processes N` a scrape shows whichever process took it: serve several ports where rates matter. What comes from
the database (``api.database_metrics``) is the same in all of them.
"""

import math

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from api.database_metrics import PoolCollector, QueueCollector
from planner.storage.database import Database
from planner.telemetry import PlanReport
from planner.versions import BITPLAN_VERSION

MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4
UNROUTED = "other"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
_SOLVE_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0)
_GAPS = (0.0, 1e-9, 1e-6, 1e-4, 1e-3, 1e-2, 0.1, 1.0)


class Metrics:
    """The meters of one app."""

    def __init__(self, database: Database) -> None:
        """Meters at zero.

        Args:
            database: whose queue and connections are shown.
        """
        disable_created_metrics()  # type: ignore[no-untyped-call]  # (a second series for each counter, which nobody asks for)
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "bitplan_http_requests", "Answered requests.", ["method", "route", "status"], registry=self._registry
        )
        self._request_seconds = Histogram(
            "bitplan_http_request_seconds",
            "From the first byte of the request to the last byte of its answer.",
            ["method", "route"],
            buckets=_REQUEST_SECONDS,
            registry=self._registry,
        )
        self.in_progress = Gauge(
            "bitplan_http_requests_in_progress", "Requests without a whole answer, streams included.", registry=self._registry
        )
        self._plans = Counter("bitplan_plans", "Plans made, by what was proven of them.", ["status"], registry=self._registry)
        self._solve_seconds = Histogram(
            "bitplan_solve_seconds",
            "Wall time of the solve that a plan rests on.",
            ["solver"],
            buckets=_SOLVE_SECONDS,
            registry=self._registry,
        )
        self._gaps = Histogram(
            "bitplan_plan_gap", "(objective - lower bound) / |objective| of a plan.", buckets=_GAPS, registry=self._registry
        )
        Info("bitplan_build", "The version that runs.", registry=self._registry).info({"version": BITPLAN_VERSION})
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._writing = CapacityLimiter(1)  # a thread of its own: many series take a while, and nobody else should wait
        self._queue = QueueCollector(database)
        self._registry.register(self._queue)
        self._registry.register(PoolCollector(database))

    def request_ended(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer.

        Args:
            method: as the client wrote it.
            route: the template of the path; ``UNROUTED`` if no route took it.
            status: of the answer.
            seconds: until its last byte.
        """
        known = method if method in _METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._request_seconds.labels(known, route).observe(seconds)

    def plan_made(self, report: PlanReport) -> None:
        """Count a plan."""
        self._plans.labels(report.status).inc()
        self._solve_seconds.labels(report.solver).observe(report.seconds)
        if math.isfinite(report.gap):
            self._gaps.observe(report.gap)

    async def exposition(self) -> bytes:
        """All figures in Prometheus' text format, whose media type is ``MEDIA_TYPE``."""
        await self._queue.refresh()
        return await run_sync(generate_latest, self._registry, limiter=self._writing)
