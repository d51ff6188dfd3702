"""What observing costs every request in its process: counting, timing and one JSON line, beside a bare application."""

import asyncio
import io
import sys
from pathlib import Path

import pytest
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import Metrics
from api.observing import Observed
from planner.logs import configure_logs
from planner.storage.database import Database
from tests.benchmarks.timing import Turns

pytestmark = pytest.mark.benchmark
REQUESTS = 2_000
TURNS = 5
LIMIT_MILLISECONDS = 0.3
ROUTES = 80


async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
    """An application that does nothing else."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


class Route:
    """What a router leaves in the scope."""

    def __init__(self, path: str) -> None:
        self.path = path


async def ask(app: ASGIApp, route: Route) -> None:
    headers = [(b"host", b"127.0.0.1:8000"), (b"user-agent", b"benchmark"), (b"accept", b"*/*")]
    scope: Scope = {"type": "http", "method": "POST", "path": "/v1/plans", "headers": headers, "route": route}
    scope["state"] = {"actor": "ci (bitplan_0123456789ab)"}

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(_message: Message) -> None:
        pass

    await app(scope, receive, send)


async def ask_many(app: ASGIApp, turns: Turns, label: str) -> None:
    routes = [Route(f"/v1/things/{number}/{{thing}}") for number in range(ROUTES)]
    with turns.timed(label):
        for number in range(REQUESTS):
            await ask(app, routes[number % ROUTES])


def test_observing_costs_less_than_a_third_of_a_millisecond(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'observed.db'}")
    metrics = Metrics(database)
    turns = Turns()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", io.StringIO())
        configure_logs("INFO", form="json", secrets=["a database's password"])
        for _ in range(TURNS):
            asyncio.run(ask_many(answer, turns, "bare"))
            asyncio.run(ask_many(Observed(answer, metrics=metrics), turns, "observed"))
        with turns.timed("scrape"):
            size = len(asyncio.run(metrics.exposition()))
        structlog.reset_defaults()
    database.close()
    cost = 1e3 * (turns.processor["observed"] - turns.processor["bare"]) / (REQUESTS * TURNS)
    with capsys.disabled():
        sys.stdout.write(
            f"\nobserving a request: {cost:.3f} ms of processor time"
            f"\na scrape of {ROUTES} routes, {size / 1e3:.0f} kB: {1e3 * turns.processor['scrape']:.1f} ms of processor time\n"
        )
    assert cost < LIMIT_MILLISECONDS
