"""Jobs that rest, ask for workers and fail in part, and the workers themselves, over REST."""

from dataclasses import replace
from typing import Any

import numpy as np
from fastapi.testclient import TestClient

from planner.jobs.engine import UnitSpec, WorkerProfile
from planner.jobs.sql_engine import SqlJobEngine
from planner.storage.database import Database
from tests.api.conftest import Measured

WEIGHTS = {"model": "toy", "probe": "weight_error", "formats": ["INT4_G64"]}
WORKER = WorkerProfile("worker-1", ["sensitivity"], frozenset({"gpu"}), 2**40, "here", 7)


def submit(client: TestClient, **changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = client.post("/v1/jobs", json=WEIGHTS | changes).json()
    return document


def test_a_job_is_paused_and_resumed(client: TestClient, measured: Measured) -> None:
    job = submit(client)["id"]
    for _ in range(2):
        paused = client.post(f"/v1/jobs/{job}/pause")
        assert (paused.status_code, paused.json()["state"]) == (200, "paused")
    assert submit(client)["id"] == job
    assert [item["id"] for item in client.get("/v1/jobs", params={"state": "paused"}).json()["items"]] == [job]
    assert client.delete("/v1/models/toy").status_code == 409
    assert client.post(f"/v1/jobs/{job}/resume").json()["state"] == "queued"
    client.post(f"/v1/jobs/{job}/cancel")
    for act in ("pause", "resume"):
        refused = client.post(f"/v1/jobs/{job}/{act}")
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:bitplan:problem:conflict")


def test_a_job_says_which_workers_it_waits_for(client: TestClient, measured: Measured) -> None:
    job = submit(client, label="gpu", priority=-3)
    assert (job["label"], job["priority"], job["forecast_seconds"]) == ("gpu", -3, None)
    forecasts = job["request"]["memory"]
    assert job["memory_bytes"] == min(forecasts["whole_bytes"], forecasts["streamed_bytes"])
    assert client.post("/v1/jobs", json=WEIGHTS | {"label": "no label"}).status_code == 422


def test_a_queued_job_says_what_no_worker_has(client: TestClient, measured: Measured, database: Database) -> None:
    submitted, engine = submit(client, label="gpu"), SqlJobEngine(database)
    said = []
    for there in (None, replace(WORKER, labels=frozenset()), replace(WORKER, memory_bytes=1), WORKER):
        if there is not None:
            engine.beat(replace(there, id=str(there)[-80:]), draining=False)
        (listed,) = client.get("/v1/jobs").json()["items"]
        assert listed == client.get(f"/v1/jobs/{submitted['id']}").json()
        said.append(listed["waits_for"])
    assert [text and text.split(":")[0][:40] for text in said[:3]] == [
        "no worker is there",
        "no worker that is there has the label 'g",
        f"it is forecast to need {submitted['memory_bytes']:,} bytes"[:40],
    ]
    assert said[3] is None


def test_units_that_failed_are_named_with_their_reasons(client: TestClient, measured: Measured, database: Database) -> None:
    job, engine = submit(client)["id"], SqlJobEngine(database, max_attempts=1)
    listed = engine.claim(WORKER)
    assert listed is not None
    engine.record_units(listed, [UnitSpec("000", {"indices": [0]}), UnitSpec("001", {"indices": [1]})])
    first, second = engine.claim(WORKER), engine.claim(WORKER)
    assert first is not None
    assert second is not None
    engine.fail(first, "disk is on fire", permanent=False)
    engine.record_result(second, np.zeros(3), seconds=1.0)
    last = engine.claim(WORKER)
    assert last is not None
    engine.finish(last, lambda session, job, results: None)
    found = client.get(f"/v1/jobs/{job}").json()
    assert (found["state"], found["done"], found["failed"], found["total"]) == ("succeeded", 1, 1, 2)
    assert found["failures"] == [{"unit": "000", "reason": "disk is on fire (tried 1 times)", "attempts": 1}]


def test_workers_are_listed_with_what_they_do(client: TestClient, measured: Measured, database: Database) -> None:
    assert client.get("/v1/workers").json() == {"items": []}
    engine = SqlJobEngine(database)
    engine.beat(WORKER, draining=False)
    job = submit(client)["id"]
    engine.claim(WORKER)
    (seen,) = client.get("/v1/workers").json()["items"]
    assert (seen["id"], seen["host"], seen["pid"], seen["labels"], seen["memory_bytes"]) == (
        "worker-1",
        "here",
        7,
        ["gpu"],
        2**40,
    )
    assert (seen["state"], seen["job"], seen["step"], seen["unit"]) == ("busy", job, "enumerate", None)
    engine.leave(WORKER)
    assert client.get("/v1/workers").json()["items"][0]["state"] == "stopped"
