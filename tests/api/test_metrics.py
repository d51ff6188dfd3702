"""Figures for Prometheus: bounded labels, counters that only grow, and an answer even without a database."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import delete, update

from api import database_metrics, readiness
from api.app import create_app
from api.database_metrics import KEPT_SECONDS, QueueCollector
from api.metrics import Metrics
from planner.errors import StorageError
from planner.jobs.job import JobState
from planner.settings import Settings
from planner.storage.database import Database
from planner.storage.tables import JobRow, WorkerRow, utc_now
from planner.telemetry import PlanReport
from tests.api.conftest import Measured, local_client

Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(client: TestClient) -> Figures:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def figure(figures: Figures, name: str, **labels: str) -> float | None:
    return figures.get((name, frozenset(labels.items())))


def test_requests_are_counted_by_template_and_status(plain: TestClient) -> None:
    for path in ("/healthz", "/v1/jobs/0123", "/v1/jobs/4567", "/nowhere", "/nowhere/else"):
        plain.get(path)
    plain.request("BREW", "/v1/models")
    figures = scraped(plain)
    assert figure(figures, "bitplan_http_requests_total", method="GET", route="/healthz", status="200") == 1
    assert figure(figures, "bitplan_http_requests_total", method="GET", route="/v1/jobs/{job}", status="404") == 2
    assert figure(figures, "bitplan_http_requests_total", method="GET", route="other", status="404") == 2
    assert figure(figures, "bitplan_http_request_seconds_count", method="GET", route="/v1/jobs/{job}") == 2
    assert figure(figures, "bitplan_http_requests_in_progress") == 1  # this one
    assert {dict(labels)["method"] for name, labels in figures if name == "bitplan_http_requests_total"} == {"GET", "other"}
    assert figure(figures, "process_start_time_seconds")
    assert figure(figures, "bitplan_database_up") == 1
    assert figure(figures, "bitplan_database_connections", state="in_use") == 0


@settings(max_examples=6, deadline=None)
@given(paths=st.lists(st.text(alphabet=st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=30), max_size=5))
def test_no_path_becomes_a_label(another: TestClient, paths: list[str]) -> None:
    for path in paths:
        another.get(f"/v1/jobs/{path}")
    routes = {dict(labels)["route"] for name, labels in scraped(another) if name == "bitplan_http_requests_total"}
    assert routes <= {"other", "/metrics", "/v1/jobs", "/v1/jobs/{job}", "/v1/jobs/{job}/events"}


@pytest.fixture(scope="module")
def another(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Another service in the same process."""
    folder = tmp_path_factory.mktemp("another")
    shutil.copyfile(sqlite_template, folder / "another.db")
    database = Database(f"sqlite:///{folder / 'another.db'}")
    with local_client(create_app(Settings(data_dir=folder), database)) as opened:
        yield opened
    database.close()


def test_what_was_not_foreseen_is_counted_as_500(plain: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("planner.services.models.list_models", fail)
    assert plain.get("/v1/models").status_code == 500
    assert figure(scraped(plain), "bitplan_http_requests_total", method="GET", route="/v1/models", status="500") == 1


def test_every_app_has_figures_of_its_own(plain: TestClient, another: TestClient) -> None:
    plain.get("/docs")
    assert figure(scraped(plain), "bitplan_http_requests_total", method="GET", route="/docs", status="200") == 1
    assert figure(scraped(another), "bitplan_http_requests_total", method="GET", route="/docs", status="200") is None


def test_plans_are_counted_by_what_was_proven(client: TestClient, measured: Measured) -> None:
    for bits in (4.25, 5.0):
        plan = {"model": measured.model, "budget": {"effective_bits": bits}, "runtime": "generic"}
        assert client.post("/v1/plans", json=plan).status_code == 201
    figures = scraped(client)
    assert figure(figures, "bitplan_plans_total", status="optimal") == 2
    assert figure(figures, "bitplan_solve_seconds_count", solver="mckp") == 2
    assert figure(figures, "bitplan_plan_gap_bucket", le="0.0") == 2


def test_a_gap_that_is_not_known_is_no_figure(database: Database) -> None:
    meters = Metrics(database)
    meters.plan_made(PlanReport("evolutionary", "feasible", float("inf"), 0.1))
    assert b"bitplan_plan_gap_count 0.0" in anyio.run(meters.exposition)


class Watched:
    """A collector whose clock stands until it is moved."""

    def __init__(self, database: Database) -> None:
        self.now = 0.0
        self.database = database
        self.collector = QueueCollector(database, clock=lambda: self.now)
        self.registry = CollectorRegistry()
        self.registry.register(self.collector)

    def figure(self, name: str, **labels: str) -> float | None:
        """A figure after the next reading."""
        self.now += KEPT_SECONDS
        anyio.run(self.collector.refresh)
        return self.registry.get_sample_value(name, labels)

    def set(self, job: str, **values: object) -> None:
        """Change a job's row."""
        with self.database.session() as session:
            session.execute(update(JobRow).where(JobRow.id == job).values(**values))

    def add(self, job: str, **values: object) -> None:
        """Another job, submitted now."""
        with self.database.session() as session:
            now = self.database.now(session)
            session.add(JobRow(**{"id": job, "kind": "sensitivity", "model_id": "m", "payload": {}, "created_at": now} | values))


@pytest.fixture
def watched(database: Database, measured: Measured) -> Watched:
    """A queue with an old job that is half done."""
    found = Watched(database)
    old = utc_now() - timedelta(hours=1)
    found.add("old", model_id=measured.model, state="running", total=10, done=4, failed=1, created_at=old)
    found.add("waiting", model_id=measured.model, created_at=old)
    return found


def test_the_queue_is_shown_by_kind_and_state(watched: Watched) -> None:
    assert watched.figure("bitplan_jobs", kind="sensitivity", state="running") == 1
    assert watched.figure("bitplan_jobs", kind="sensitivity", state="queued") == 1
    assert watched.figure("bitplan_units_waiting", kind="sensitivity") == 5
    oldest = watched.figure("bitplan_oldest_queued_job_seconds")
    assert oldest is not None
    assert 3590 < oldest < 3700
    watched.set("waiting", state="running")
    watched.now -= KEPT_SECONDS  # so soon the database is not asked again
    assert watched.figure("bitplan_oldest_queued_job_seconds") == oldest
    assert watched.figure("bitplan_oldest_queued_job_seconds") == 0


def test_counters_begin_at_zero_and_only_grow(watched: Watched, measured: Measured) -> None:
    def counts() -> tuple[float, ...]:
        done = watched.figure("bitplan_units_done_total", kind="sensitivity")
        failed = watched.registry.get_sample_value("bitplan_units_failed_total", {"kind": "sensitivity"})
        states = (JobState.SUCCEEDED, JobState.FAILED)
        ended = [
            watched.registry.get_sample_value("bitplan_jobs_ended_total", {"kind": "sensitivity", "state": state.value}) or 0.0
            for state in states
        ]
        assert done is not None
        assert failed is not None
        return (done, failed, *ended)

    assert counts() == (0, 0, 0, 0)
    watched.set("old", done=7)
    assert counts() == (3, 0, 0, 0)
    watched.set("old", done=8, failed=2, state="failed")
    assert counts() == (4, 1, 0, 1)
    watched.set("old", state="running", failed=0)  # tried again
    assert counts() == (4, 1, 0, 1)
    watched.set("old", done=10, state="succeeded")
    assert counts() == (6, 1, 1, 1)
    watched.add("quick", model_id=measured.model, state="succeeded", total=2, done=2)  # from one reading to the next
    assert counts() == (8, 1, 2, 1)
    with watched.database.session() as session:
        session.execute(delete(JobRow))
    assert counts() == (8, 1, 2, 1)


def test_workers_are_shown_by_state_and_machine(watched: Watched) -> None:
    with watched.database.session() as session:
        now = watched.database.now(session)
        for name, host, age, stopped in (("a", "one", 5, False), ("b", "one", 900, False), ("c", "two", 2, True)):
            seen = now - timedelta(seconds=age)
            row = WorkerRow(id=name, host=host, pid=1, kinds=[], labels=[], started_at=seen, last_seen=seen, lease_seconds=60.0)
            row.draining, row.stopped_at = False, seen if stopped else None
            session.add(row)
    assert watched.figure("bitplan_workers", state="idle") == 1
    assert [watched.registry.get_sample_value("bitplan_workers", {"state": state}) for state in ("lost", "busy")] == [1, 0]
    freshest = watched.registry.get_sample_value("bitplan_worker_heartbeat_age_seconds", {"host": "one"})
    assert freshest is not None
    assert 5 <= freshest < 60
    assert watched.registry.get_sample_value("bitplan_worker_heartbeat_age_seconds", {"host": "two"}) is None


def test_without_a_database_only_that_is_said(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    assert watched.figure("bitplan_database_up") == 1
    with monkeypatch.context() as patch:
        patch.setattr(Database, "now", _refuse)
        assert watched.figure("bitplan_database_up") == 0
        assert watched.figure("bitplan_units_waiting", kind="sensitivity") is None
        assert watched.registry.get_sample_value("bitplan_units_done_total", {"kind": "sensitivity"}) == 0
    watched.set("old", done=5)
    assert watched.figure("bitplan_database_up") == 1
    assert watched.registry.get_sample_value("bitplan_units_done_total", {"kind": "sensitivity"}) == 1


def _refuse(*_args: object) -> None:
    msg = "away"
    raise StorageError(msg)


@contextmanager
def hanging(monkeypatch: pytest.MonkeyPatch, function: str) -> Iterator[list[str]]:
    """A database whose answer does not come before the block ends; each question that waits for one."""
    release = threading.Event()
    asked: list[str] = []

    def hang(*_args: object) -> None:
        asked.append(function)
        release.wait(30)

    with monkeypatch.context() as patch:
        patch.setattr(Database, function, hang)
        try:
            yield asked
        finally:
            release.set()


def test_a_database_that_hangs_holds_nobody_up(plain: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_metrics, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(readiness, "READY_SECONDS", 0.05)
    with hanging(monkeypatch, "now") as asked:
        assert [figure(scraped(plain), "bitplan_database_up") for _ in range(3)] == [0, 0, 0]
        assert asked == ["now"], "no further thread joins the one that waits"
    with hanging(monkeypatch, "check_version") as asked:
        assert [plain.get("/readyz").status_code for _ in range(3)] == [503, 503, 503]
        assert asked == ["check_version"]
        assert plain.get("/healthz").status_code == 200
