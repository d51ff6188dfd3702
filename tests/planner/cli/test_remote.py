"""Every command against a running service: it answers as this machine would, or refuses by name."""

import json
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from structlog.testing import capture_logs
from typer.main import get_command
from typer.testing import CliRunner

from api.app import create_app
from planner.cli import workspace
from planner.cli.app import app
from planner.client import Client
from planner.settings import Settings
from planner.storage.database import Database
from planner.worker.process import make_worker
from tests import synthetic
from tests.planner.importers import files
from tests.tiny_models import tiny_llama

RUNNER = CliRunner()
TEXT = " ".join(f"The {n}th sentence says that {n} and {n * n} are numbers." for n in range(200))
CUT = ["--sequences", "2", "--sequence-length", "16", "--held-out-sequences", "1", "--held-out-length", "16"]
FORMATS = "INT3_G32,INT4_G32,INT6_G32"

HERE_ALONE = {
    "serve": "",
    "worker": "",
    "demo": "",
    "keys create": "me --scope read",
    "keys list": "",
    "keys revoke": "bp_x",
    "db upgrade": "",
    "db check": "",
    "db backup": "copy.db",
}


@dataclass
class Remote:
    """A running service and the commands that it was asked.

    Attributes:
        url: of the service.
        asked: commands that were asked of it.
    """

    url: str
    asked: set[str] = field(default_factory=set)

    def ask(self, command: str, *arguments: str, code: int = 0) -> Any:
        """What a command answers with the service."""
        self.asked.add(command)
        return json.loads(run("--url", self.url, *command.split(), *arguments, "--json", code=code))

    def compare(self, command: str, *arguments: str) -> Any:
        """The same, which this machine's own database answers with the same document."""
        found = self.ask(command, *arguments)
        assert without_times(self.ask_here(command, *arguments)) == without_times(found)
        return found

    def ask_here(self, command: str, *arguments: str) -> Any:
        """What a command answers on this machine."""
        try:
            return json.loads(run(*command.split(), *arguments, "--json"))
        finally:
            clear()


@contextmanager
def serving(database: Database, settings: Settings) -> Iterator[str]:
    """The service in a thread of this process."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(settings, database), log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


class Kept(httpx2.BaseTransport):
    """Connections that clients share: each command would make its own, and certificates for them."""

    def __init__(self) -> None:
        self._carrier = httpx2.HTTPTransport()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return self._carrier.handle_request(request)

    def close_all(self) -> None:
        self._carrier.close()


@pytest.fixture
def remote(tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    """The service with a worker, over a made-up measured model; this machine's own commands find the same database."""
    shutil.copyfile(sqlite_template, tmp_path / "bitplan.db")
    settings = Settings(data_dir=tmp_path, torch_threads=1)
    monkeypatch.setenv("BITPLAN_DATA_DIR", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["bitplan", "--json"])
    for name in ("BITPLAN_DATABASE_URL", "BITPLAN_URL", "BITPLAN_API_KEY", "BITPLAN_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    database = Database(settings.resolved_database_url)
    described = synthetic.description()
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting())
        synthetic.add_cells(session, described, synthetic.setting(probe="kl"), seed=1)
    worker = make_worker(database, settings, poll_seconds=0.05)
    thread = threading.Thread(target=worker.run)
    thread.start()
    clear()
    kept = Kept()
    monkeypatch.setattr("planner.client.Client", partial(Client, transport=kept))
    with capture_logs(), serving(database, settings) as url:  # this process is the service too
        yield Remote(url)
        kept.close_all()
    worker.stop()
    thread.join()
    database.close()
    clear()


def clear() -> None:
    """Forget what commands on this machine opened."""
    if workspace.open_database.cache_info().currsize:
        workspace.open_database().close()
    for cached in (workspace.settings, workspace.open_database):
        cached.cache_clear()


def commands() -> set[str]:
    """Every command, with its group."""
    found: set[str] = set()
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        below = getattr(command, "commands", None)
        found |= {name} if below is None else {f"{name} {child}" for child in below}
    return found


def without_times(document: Any) -> Any:
    """Without what tells when it was asked."""
    if isinstance(document, dict):
        volatile = ("age_seconds", "solve_seconds", "last_seen", "unit", "step", "job")
        return {key: without_times(value) for key, value in document.items() if key not in volatile}
    return [without_times(item) for item in document] if isinstance(document, list) else document


def run(*arguments: str, code: int = 0) -> str:
    result = RUNNER.invoke(app, list(arguments))
    assert result.exit_code == code, f"{arguments}: {result.output}"
    return result.stdout


def test_every_command_works_on_a_service_or_says_that_it_does_not(remote: Remote, tmp_path: Path) -> None:
    _models_and_texts(remote, tmp_path)
    _jobs(remote)
    _planning(remote, tmp_path)
    _plans(remote)
    _curves(remote, tmp_path)
    _devices(remote, tmp_path)
    for command in commands() - remote.asked:
        arguments = HERE_ALONE[command].split()  # a command that is missing here was forgotten in this test
        refused = run("--url", remote.url, *command.split(), *arguments, code=2)
        assert "leave out --url" in json.loads(refused)["detail"], command


def _models_and_texts(remote: Remote, folder: Path) -> None:
    for command in ("formats", "runtimes"):
        assert remote.compare(command)
    assert remote.compare("formats", "--kv-cache")
    source = tiny_llama(folder / "tiny", hidden=32, ffn=64)
    assert remote.ask("models add", str(source))["name"] == "tiny"
    assert "already registered" in run("--url", remote.url, "models", "add", str(source))
    remote.ask("models add", str(tiny_llama(folder / "spare", seed=1, hidden=32, ffn=64)))
    assert len(remote.compare("models list")["items"]) == 3
    assert len(remote.compare("models layers", "tiny")["items"]) == 15
    assert remote.ask("models add", str(folder / "nowhere"), code=2)["error"] == "source-not-found"
    (folder / "text.txt").write_text(TEXT)
    uploaded = remote.ask("calibrations add", "--text", str(folder / "text.txt"), *CUT)
    assert (uploaded["name"], uploaded["characters"]) == ("text.txt", len(TEXT))
    assert remote.ask_here("calibrations add", "--text", str(folder / "text.txt"), *CUT) == uploaded
    assert remote.compare("calibrations list")["items"] == [uploaded]


def _jobs(remote: Remote) -> None:
    done = remote.ask("measure", "tiny", "--probe", "weight_error", "--formats", FORMATS)
    assert (done["state"], done["done"]) == ("succeeded", done["total"])
    assert remote.compare("jobs show", done["id"]) == done
    assert remote.ask("jobs follow", done["id"]) == done
    asked = ("--probe", "weight_error", "--formats", "INT5_G32", "--label", "nobody", "--detach")
    waiting = remote.ask("measure", "tiny", *asked)["id"]
    assert remote.ask("jobs pause", waiting)["state"] == "paused"
    assert remote.ask("jobs resume", waiting)["state"] == "queued"
    assert remote.ask("jobs cancel", waiting)["state"] == "cancelled"
    assert remote.ask("jobs follow", waiting, code=4)["state"] == "cancelled"
    assert remote.ask("jobs retry", waiting)["state"] == "queued"
    remote.ask("jobs cancel", waiting)
    assert len(remote.compare("jobs list")["items"]) == 2
    assert len(remote.compare("workers")["items"]) == 1
    assert remote.ask("jobs show", "nope", code=2)["error"] == "not-found"


def _planning(remote: Remote, folder: Path) -> None:
    assert remote.compare("bounds", "toy", "--formats", "INT2_G64,INT8_G64", "--runtime", "vllm")
    assert remote.compare("frontier", "toy", "--points", "5")
    plan = remote.ask("plan", "toy", "--bits", "4.25")
    assert remote.compare("plans show", plan["id"])["plan"] == plan
    low = remote.ask("plan", "toy", "--bits", "1", code=3)
    assert (low["error"], low["smallest_feasible"]) == ("budget-below-floor", 2.25)
    assert remote.ask("plan", "toy", code=2)["error"] == "invalid-request"
    small = remote.ask("plan", "tiny", "--bits", "5")["id"]
    assert len(remote.compare("plans list")) == 2
    remote.compare("export", plan["id"], "--target", "json")
    remote.ask("export", plan["id"], "--target", "json", "--output", str(folder / "plan.json"))
    assert json.loads((folder / "plan.json").read_text())["layers"]
    refused = remote.ask("export", plan["id"], "--checkpoint", str(folder / "whole"), code=2)
    assert "leave out --url" in refused["detail"]
    assert "leave out --url" in remote.ask("apply", plan["id"], str(folder / "whole"), code=2)["detail"]
    assert remote.compare("plans explain", plan["id"], "*.down_proj")["matched"] == 2
    assert remote.ask("plans retarget", plan["id"], "--runtime", "vllm")["plan"]["runtime"] == "vllm"
    assert "evaluate" in remote.ask("family", "toy", "tiny", "--same-tokenizer", code=2)["detail"]
    devices = ("--front", "l4", "--back", "rtx4090", "--link-bandwidth", "1GB")
    assert remote.compare("split", "toy", *devices, "--front-memory", "170kB", "--back-memory", "170kB")["best"]["split"] == 1
    (text,) = (item["id"] for item in remote.ask("calibrations list")["items"])
    (measured,) = remote.ask("evaluate", small, "--calibration", text, "--alone")
    assert measured["kl"]["value"] > 0
    assert isinstance(remote.ask("refine", small, "--calibration", text), list)
    searched = remote.ask("search", small, "--calibration", text, "--generations", "1", "--offspring", "2")
    assert searched["state"] == "succeeded"


def _plans(remote: Remote) -> None:
    first, second = (item["summary"]["id"] for item in remote.ask("plan", "toy", "--bits", "4.5,5.25")["items"])
    assert remote.compare("plans diff", first, second)["changed"]
    assert remote.ask("plans name", first, "production", "--replaces", "none")["version"] == 1
    assert remote.ask("plans name", second, "production", "--replaces", "none", code=2)["current"] == first
    assert remote.ask("plans name", second, "production", "--replaces", first)["plan"] == second
    assert remote.compare("plans which", "toy", "production")["plan"] == second
    assert len(remote.compare("plans names", "toy")["items"]) == 1
    remote.ask("plans unname", "toy", "production")
    remote.ask("plans pin", first, "--why", "kept")
    assert remote.ask("plans delete", first, code=2)["error"] == "conflict"
    remote.ask("plans unpin", first)
    assert remote.ask("plans delete", first)["deleted"]
    assert len(remote.compare("plans history", "--model", "toy")["items"]) == 6


def _curves(remote: Remote, folder: Path) -> None:
    assert len(remote.compare("curves list", "toy")["items"]) == 2
    assert len(remote.compare("curves fit", "toy", "--layers", "*.q_proj")["items"]) == 2
    assert remote.compare("curves compare", "toy", "fisher", "kl")["overall"]["cells"] > 0
    remote.asked.add("curves heatmap")
    run("--url", remote.url, "curves", "heatmap", "toy", "--output", str(folder / "map.png"))
    assert (folder / "map.png").read_bytes().startswith(b"\x89PNG")
    assert remote.ask("curves drift", "spare", "tiny", "--formats", "INT4_G32")["moved_layers"] == 15
    assert remote.ask("link", "toy")["probe"] == "calibrated_fisher"
    schemes = [str(files.DATA / name) for name in files.SCHEMES]
    assert remote.ask("import", *schemes, "--model", "toy")["probe"] == "imported_autoround"
    assert remote.ask("models delete", "spare") == {"deleted": "spare"}
    assert remote.ask("models layers", "spare", code=2)["error"] == "not-found"


def _devices(remote: Remote, folder: Path) -> None:
    assert len(remote.compare("device list")["items"]) == 14
    (folder / "mine.json").write_text(json.dumps(remote.compare("device show", "l4") | {"name": "mine"}))
    assert remote.ask("device add", str(folder / "mine.json"))["built_in"] is False
    (folder / "table.csv").write_text("out_features,in_features,format,batch,seconds\n128,128,BF16,1,1e-5\n")
    assert remote.ask("device import", "mine", str(folder / "table.csv"))["measured_entries"] == 1
    measured = ("--shape", "16x16", "--formats", "BF16", "--batches", "1", "--threads", "1")
    assert remote.ask("device measure", "here", *measured)["measured_entries"] == 1
    assert remote.ask("device measure", "l4", *measured, code=2)["error"] == "invalid-request"
    assert remote.ask("device delete", "mine") == {"deleted": "mine"}


def test_a_key_comes_from_the_environment_or_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sent: list[str | None] = []
    answers: list[httpx2.Response] = []

    def recorded(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.headers.get("authorization"))
        return answers.pop() if answers else httpx2.Response(200, json={"items": []})

    monkeypatch.delenv("BITPLAN_API_KEY", raising=False)
    monkeypatch.setattr("planner.client.Client", partial(Client, transport=httpx2.MockTransport(recorded)))
    (tmp_path / "key").write_text("from_file\n")
    there = ("--url", "http://localhost:1")
    run(*there, "formats", "--json")
    monkeypatch.setenv("BITPLAN_API_KEY", "from_environment")
    run(*there, "formats", "--json")
    run(*there, "--key-file", str(tmp_path / "key"), "formats", "--json")
    assert sent == [None, "Bearer from_environment", "Bearer from_file"]
    told = RUNNER.invoke(app, ["--url", "http://elsewhere", "formats", "--json"])
    assert "unencrypted" in told.stderr
    monkeypatch.setattr("sys.argv", ["bitplan"])
    problem = {"type": "urn:bitplan:problem:unauthenticated", "title": "T", "status": 401, "detail": "this needs a key"}
    answers.append(httpx2.Response(401, json=problem | {"request_id": "r7"}))
    told = RUNNER.invoke(app, [*there, "formats"])
    assert (told.exit_code, told.stderr.splitlines()[:2]) == (2, ["error: this needs a key", "request id r7"])
    assert "--key-file" in told.stderr
    refused = RUNNER.invoke(app, [*there, "--key-file", str(tmp_path / "none"), "formats"])
    assert (refused.exit_code, "cannot read an API key" in refused.stderr) == (2, True)
