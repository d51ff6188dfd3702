"""Every request is counted, timed and logged: by route template and status, with the request's id and who asked."""

import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from api.callers import client_address
from api.metrics import UNROUTED, Metrics
from api.request_context import request_id
from api.routes.health import HEALTH_PATHS
from planner.telemetry import plan_listener

_CLIENT_LEFT = 499  # nobody gets this status: the client was gone before the answer began
_log = structlog.get_logger("api")


class Observed:
    """ASGI middleware, the outermost: what others refuse is observed too."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; count and log it once its answer has ended."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def noticing(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with (
            bound_contextvars(request_id=request_id(scope)),
            plan_listener(self.metrics.plan_made),
            self.metrics.in_progress.track_inprogress(),
        ):
            try:
                await self.app(scope, receive, noticing)
            except Exception:
                status = status or 500  # the outermost handler of errors answers it
                raise
            finally:
                self._ended(scope, status or _CLIENT_LEFT, time.perf_counter() - began)

    def _ended(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", UNROUTED)
        self.metrics.request_ended(method=scope["method"], route=route, status=status, seconds=seconds)
        write = _log.debug if route in HEALTH_PATHS else _log.info
        write(
            "request",
            method=scope["method"],
            route=route,
            status=status,
            duration_ms=round(seconds * 1e3, 2),
            client=client_address(scope),
            actor=scope.get("state", {}).get("actor"),
        )
