"""Progress of jobs as server-sent events: ids that can be come back to, one query for all followers, ends that are ends."""

import asyncio
import json
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, event, update

from api import job_watch
from api.app import create_app
from api.job_watch import JobWatch
from planner.errors import StorageError
from planner.services.job_progress import progress_of
from planner.settings import Settings
from planner.storage.database import Database
from planner.storage.tables import JobRow
from tests.api.conftest import Measured, local_client
from tests.api.serving import Served, serve

one_database = pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # what is asked is asked of both below


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_watch, "POLL_SECONDS", 0.01)


def add_job(database: Database, model: str, **values: Any) -> str:
    job = f"job{time.monotonic_ns()}"
    with database.session() as session:
        session.add(JobRow(**{"id": job, "kind": "sensitivity", "model_id": model, "payload": {}, "state": "running"} | values))
    return job


def change(database: Database, job: str, **values: Any) -> None:
    with database.session() as session:
        session.execute(update(JobRow).where(JobRow.id == job).values(**values))


def read(answer: httpx2.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    """Id and data of each event."""
    data: dict[str, Any] = {}
    for line in answer.iter_lines():
        if line.startswith("data: "):
            data = json.loads(line.removeprefix("data: "))
        elif line.startswith("id: "):
            yield line.removeprefix("id: "), data


def test_events_are_the_job_after_each_change_and_end_with_it(client: TestClient, measured: Measured, database: Database) -> None:
    job = add_job(database, measured.model, state="queued")
    steps: list[dict[str, Any]] = [
        {"state": "running", "total": 4},
        {"done": 3, "failed": 1},
        {"state": "paused"},
        {"state": "succeeded", "done": 3},
    ]
    ids = []
    with client.stream("GET", f"/v1/jobs/{job}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for identity, document in read(answer):
            assert identity.startswith(f"{document['state']}.{document['done']}.{document['failed']}.")
            ids.append(identity)
            if steps:
                change(database, job, **steps.pop(0))
    assert ids == ["queued.0.0.", "running.0.0.4", "running.3.1.4", "paused.3.1.4", "succeeded.3.1.4"]
    document = client.get(f"/v1/jobs/{job}").json()
    with client.stream("GET", f"/v1/jobs/{job}/events", headers={"last-event-id": "running.3.1.4"}) as answer:
        assert list(read(answer)) == [("succeeded.3.1.4", document)]
    again = client.get(f"/v1/jobs/{job}/events", headers={"last-event-id": "succeeded.3.1.4"})
    assert (again.status_code, again.content) == (204, b"")


def test_who_comes_back_is_told_only_what_is_new(client: TestClient, measured: Measured, database: Database) -> None:
    job = add_job(database, measured.model, done=1, total=2)
    with client.stream("GET", f"/v1/jobs/{job}/events") as answer:
        (last, _) = next(read(answer))
        change(database, job, done=2, state="succeeded")
    with client.stream("GET", f"/v1/jobs/{job}/events", headers={"last-event-id": last}) as answer:
        assert [identity for identity, _ in read(answer)] == ["succeeded.2.0.2"]


@one_database
def test_a_silent_stream_is_kept_alive(
    client: TestClient, measured: Measured, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastapi.routing._PING_INTERVAL", 0.02)
    job = add_job(database, measured.model)
    with client.stream("GET", f"/v1/jobs/{job}/events") as answer:
        for line in answer.iter_lines():
            if line.startswith(":"):
                change(database, job, state="failed")
        assert line == ""


@one_database
def test_streams_take_no_place_of_requests_and_have_a_bound_of_their_own(
    database: Database, measured: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_watch, "MAX_FOLLOWERS", 2)
    job = add_job(database, measured.model)
    path = f"/v1/jobs/{job}/events"
    with (
        local_client(create_app(Settings(data_dir=tmp_path, max_requests=1), database)) as client,
        client.stream("GET", path) as first,
        client.stream("GET", path) as second,
    ):
        streams = [read(first), read(second)]
        assert [next(events)[0] for events in streams] == ["running.0.0."] * 2
        assert client.get(f"/v1/jobs/{job}").status_code == 200
        refused = client.get(path)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
        assert refused.headers["content-type"] == "application/problem+json"
        change(database, job, state="failed")
        assert [[identity for identity, _ in events] for events in streams] == [["failed.0.0."]] * 2


@one_database
def test_events_of_an_unknown_job_are_a_problem(client: TestClient) -> None:
    answer = client.get("/v1/jobs/0123/events")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def collect(watch: JobWatch, job: str, into: list[str], *, seen: str | None = None) -> None:
    async for found in watch.follow(await watch.find(job), seen=seen):
        into.append(found.version)


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not condition():
            await asyncio.sleep(0.005)


def followed(database: Database, what: Callable[[JobWatch], Awaitable[None]]) -> None:
    """Run what a service would, and see that nothing is left of it."""

    async def run() -> None:
        watch = JobWatch(database)
        await what(watch)
        await until(lambda: not watch._followed and watch._looking is None)

    anyio.run(run)


def test_many_followers_cost_one_query(database: Database, measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [add_job(database, measured.model, total=3) for _ in range(3)]
    looks: list[int] = []
    monkeypatch.setattr(job_watch, "progress_of", _counted(progress_of, looks))
    statements: list[str] = []

    async def run(watch: JobWatch) -> None:
        seen: list[list[str]] = [[] for _ in range(60)]
        async with asyncio.TaskGroup() as group:
            for number, into in enumerate(seen):
                group.create_task(collect(watch, jobs[number % 3], into))
            await until(lambda: all(seen))
            event.listen(database.reading, "before_cursor_execute", lambda *given: statements.append(given[2]))
            before = len(looks)
            await until(lambda: len(looks) >= before + 5)
            selects = [statement for statement in statements if statement.startswith("SELECT")]
            assert len(selects) <= len(looks) - before + 1
            for job in jobs:
                change(database, job, done=3, state="succeeded")
        assert all(found == ["running.0.0.3", "succeeded.3.0.3"] for found in seen)

    followed(database, run)


def _counted(function: Callable[..., Any], calls: list[int]) -> Callable[..., Any]:
    def counting(*args: Any) -> Any:
        calls.append(1)
        return function(*args)

    return counting


@one_database
def test_who_is_slow_gets_the_newest(database: Database, measured: Measured) -> None:
    job = add_job(database, measured.model, total=9)

    async def run(watch: JobWatch) -> None:
        quick: list[str] = []
        async with asyncio.TaskGroup() as group:
            group.create_task(collect(watch, job, quick))
            slow = watch.follow(await watch.find(job))
            assert (await anext(slow)).version == "running.0.0.9"
            for done in (1, 2, 3):
                change(database, job, done=done)
                await until(lambda done=done: quick[-1:] == [f"running.{done}.0.9"])  # type: ignore[misc]
            assert (await anext(slow)).version == "running.3.0.9"
            await slow.aclose()
            change(database, job, state="cancelled")

    followed(database, run)


@one_database
def test_followers_wait_for_a_database_that_is_away(
    database: Database, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = add_job(database, measured.model)
    failures: list[int] = []

    def refuse(*_args: object) -> None:
        failures.append(1)
        msg = "away"
        raise StorageError(msg)

    async def run(watch: JobWatch) -> None:
        seen: list[str] = []
        async with asyncio.TaskGroup() as group:
            with monkeypatch.context() as patch:
                patch.setattr(job_watch, "progress_of", refuse)
                group.create_task(collect(watch, job, seen))
                await until(lambda: len(failures) > 2)
                change(database, job, state="failed")
        assert seen == ["running.0.0.", "failed.0.0."]

    followed(database, run)


@one_database
def test_a_deleted_job_and_a_service_that_stops_end_the_stream(database: Database, measured: Measured) -> None:
    gone, stays = add_job(database, measured.model), add_job(database, measured.model)

    async def run(watch: JobWatch) -> None:
        seen: list[str] = []
        async with asyncio.TaskGroup() as group:
            group.create_task(collect(watch, gone, seen))
            await until(lambda: bool(seen))
            with database.session() as session:
                session.execute(delete(JobRow).where(JobRow.id == gone))
        async with asyncio.TaskGroup() as group:
            group.create_task(collect(watch, stays, seen))
            await until(lambda: len(seen) == 2)
            watch.close()
        await collect(watch, stays, seen)
        assert seen == ["running.0.0.", "running.0.0."]

    followed(database, run)


@one_database
def test_a_fault_of_ours_leaves_nobody_waiting(database: Database, measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    job = add_job(database, measured.model)
    monkeypatch.setattr(job_watch, "progress_of", lambda *_args: 1 / 0)

    async def run(watch: JobWatch) -> None:
        seen: list[str] = []
        await collect(watch, job, seen)
        assert seen == ["running.0.0."]

    followed(database, run)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Database, str]]:
    """A service as a process of its own, and a running job in it."""
    folder: Path = tmp_path_factory.mktemp("events")
    with serve(folder, blocks=1) as running:
        database = Database(f"sqlite:///{folder / 'bitplan.db'}")
        yield running, database, add_job(database, running.client.get("/v1/models").json()["items"][0]["id"], total=5)
        database.close()


def in_progress(client: httpx2.Client) -> int:
    (line,) = [line for line in client.get("/metrics").text.splitlines() if line.startswith("bitplan_http_requests_in_progress ")]
    return int(float(line.split()[1]))


def test_a_client_that_goes_frees_its_place_and_its_connection_lives_on(served: tuple[Served, Database, str]) -> None:
    running, database, job = served
    address = running.client.base_url
    with httpx2.Client(base_url=address, timeout=20) as leaving, leaving.stream("GET", f"/v1/jobs/{job}/events") as answer:
        events = read(answer)
        next(events)
        assert in_progress(running.client) == 2
    deadline = time.monotonic() + 20
    while in_progress(running.client) > 1:
        assert time.monotonic() < deadline
    with httpx2.Client(base_url=address, timeout=20, limits=httpx2.Limits(max_connections=1)) as staying:
        with staying.stream("GET", f"/v1/jobs/{job}/events") as answer:
            change(database, job, done=1)
            events = read(answer)
            assert [next(events)[0], next(events)[0]] == ["running.0.0.5", "running.1.0.5"]
            change(database, job, state="cancelled")
            assert [identity for identity, _ in events] == ["cancelled.1.0.5"]
        assert staying.get("/healthz").status_code == 200
    change(database, job, state="running")


def test_open_streams_do_not_keep_the_service_from_stopping(served: tuple[Served, Database, str]) -> None:
    running, _, job = served
    address = running.client.base_url
    with httpx2.Client(base_url=address, timeout=20) as client, client.stream("GET", f"/v1/jobs/{job}/events") as answer:
        events = read(answer)
        next(events)
        running.process.send_signal(signal.SIGTERM)
        assert list(events) == []
    assert running.process.wait(20) == -signal.SIGTERM
