"""Split computing over REST."""

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import Measured

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def test_a_split_is_answered_or_refused_with_its_floor(client: TestClient, measured: Measured) -> None:
    request = {
        "model": measured.model,
        "front": {"device": "rtx4090", "memory_bytes": 180_000},
        "back": {"device": "l4", "memory_bytes": 180_000, "runtime": "vllm"},
        "link": {"bytes_per_second": 1.25e8, "latency_seconds": 0.0005},
    }
    answer = client.post("/v1/splits", json=request)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["best"]["split"], found["proof"]["status"], found["proof"]["gap"]) == (1, "optimal", 0.0)
    small = client.post("/v1/splits", json=request | {"front": {"device": "l4", "memory_bytes": 1}})
    assert (small.status_code, small.json()["type"]) == (422, "urn:bitplan:problem:budget-below-floor")
    assert client.post("/v1/splits", json=request | {"model": "nobody"}).status_code == 404
