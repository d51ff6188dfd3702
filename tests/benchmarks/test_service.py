"""The service in a process of its own: how long a plan takes, alone and among others, and what the process costs."""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import numpy as np
import pytest

from tests.api.serving import Served, serve

pytestmark = pytest.mark.benchmark
CLIENTS = 50
PLANS = 400


@pytest.fixture
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("served")) as running:
        yield running


def _plan(client: httpx2.Client, number: int) -> float:
    """Seconds of one plan of 224 layers and 8 formats, with a budget of its own."""
    begin = time.perf_counter()
    answer = client.post("/v1/plans", json={"model": "toy", "budget": {"effective_bits": 3.5 + number / 100}})
    assert answer.status_code == 201
    return time.perf_counter() - begin


def _milliseconds(seconds: list[float]) -> str:
    median, late = np.quantile(seconds, (0.5, 0.99)) * 1000
    return f"median {median:.0f} ms, p99 {late:.0f} ms"


def test_plans_of_one_client_and_of_fifty(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    begin = time.perf_counter()
    assert served.client.get("/healthz").status_code == 200
    start = time.perf_counter() - begin
    alone = [_plan(served.client, number) for number in range(100)]
    limits = httpx2.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
    with httpx2.Client(base_url=served.client.base_url, timeout=60, limits=limits) as many, ThreadPoolExecutor(CLIENTS) as pool:
        begin = time.perf_counter()
        together = list(pool.map(lambda number: _plan(many, number % 100), range(PLANS)))
        rate = PLANS / (time.perf_counter() - begin)
    with capsys.disabled():
        sys.stdout.write(
            f"\nstart until the first answer: {start:.2f} s; peak memory {served.peak_megabytes():.0f} MB"
            f"\none client: {_milliseconds(alone)}"
            f"\n{CLIENTS} clients: {_milliseconds(together)}; {rate:.0f} plans/s\n"
        )
    assert np.median(alone) < 0.05
