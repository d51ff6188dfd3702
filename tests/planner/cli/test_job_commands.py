"""Jobs that rest, and workers, on the command line of one machine."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from planner.cli import workspace
from planner.cli.app import app
from planner.jobs.sql_engine import SqlJobEngine
from planner.jobs.workers import WorkerProfile
from planner.storage.database import Database
from tests import synthetic


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """The embedded database of a machine that knows a model."""
    monkeypatch.setenv("BITPLAN_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("BITPLAN_DATABASE_URL", raising=False)
    for cached in (workspace.settings, workspace.open_database):
        cached.cache_clear()
    opened = workspace.open_database()
    with opened.session() as session:
        synthetic.add_model(session, synthetic.description())
    yield opened
    opened.close()
    for cached in (workspace.settings, workspace.open_database):
        cached.cache_clear()


def ask(*arguments: str) -> Any:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_job_rests_goes_on_and_begins_again(database: Database) -> None:
    job = ask("measure", "toy", "--probe", "weight_error", "--formats", "INT4_G64", "--label", "gpu", "--detach")
    assert (job["label"], job["waits_for"]) == ("gpu", "no worker is there: start one with `bitplan worker`")
    states = [ask("jobs", act, job["id"])["state"] for act in ("pause", "resume", "cancel", "retry")]
    assert states == ["paused", "queued", "cancelled", "queued"]
    said = CliRunner().invoke(app, ["jobs", "pause", job["id"]])
    assert said.stdout.strip() == f"{job['id']} is paused"


def test_workers_are_shown(database: Database) -> None:
    SqlJobEngine(database).beat(WorkerProfile("worker-1", ["drift"], frozenset({"gpu"}), host="here", pid=7), draining=False)
    assert [(worker["id"], worker["state"]) for worker in ask("workers")["items"]] == [("worker-1", "idle")]
    table = CliRunner().invoke(app, ["workers"]).stdout
    assert "worker-1" in table
    assert "gpu" in table
