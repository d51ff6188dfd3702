"""A supervised process is restarted when it dies, stopped when asked, and does not outlive its parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from planner.settings import Settings
from planner.worker.supervisor import Supervisor, environment_of, supervised_worker

PATIENCE_SECONDS = 30.0
IDLE = "import time; time.sleep(600)"
STUBBORN = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).touch()
time.sleep(600)
"""
CHILD = """
import sys, time
from planner.worker.parent import follow_parent
follow_parent(int(sys.argv[1]), poll_seconds=0.05)
print("ready", flush=True)
time.sleep(600)
"""
PARENT = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())])
time.sleep(600)
"""


def wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_process_that_dies_is_started_again_and_stopped_when_asked() -> None:
    supervisor = Supervisor([sys.executable, "-c", IDLE], os.environ)
    supervisor.start()
    try:
        wait(lambda: supervisor.pid)
        first = supervisor.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        wait(lambda: supervisor.pid not in (None, first))
        second = supervisor.pid
    finally:
        supervisor.stop()
    assert second is not None
    assert is_gone(first)
    assert is_gone(second)
    assert supervisor.pid is None


def test_a_process_that_does_not_listen_is_killed_when_the_grace_is_over(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    supervisor = Supervisor([sys.executable, "-c", STUBBORN, str(ready)], os.environ, grace_seconds=0.2)
    supervisor.start()
    wait(ready.exists)
    pid = supervisor.pid
    supervisor.stop()
    assert pid is not None
    assert is_gone(pid)


def test_the_grace_begins_when_it_begins_to_stop(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    supervisor = Supervisor([sys.executable, "-c", STUBBORN, str(ready)], os.environ, grace_seconds=0.0)
    supervisor.start()
    wait(ready.exists)
    supervisor.begin_to_stop()
    assert supervisor.pid is not None  # it was told, and is not waited for
    supervisor.grace_seconds = 2 * PATIENCE_SECONDS
    supervisor.begin_to_stop()
    supervisor.stop()
    assert supervisor.pid is None


def test_a_child_stops_when_its_parent_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout as output:
        assert output.readline() == b"ready\n"
        parent.kill()
        parent.wait()
        output.read()  # ends when the last process that holds the pipe has ended: the child


def test_a_child_whose_parent_died_before_it_looked_stops_too() -> None:
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(2**22 + 1)], timeout=PATIENCE_SECONDS, check=False, capture_output=True
    )
    assert child.returncode == -signal.SIGTERM


def test_a_worker_gets_the_settings_of_its_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = (tmp_path / "a", tmp_path / "b")
    settings = Settings(
        data_dir=tmp_path,
        lease_seconds=7.0,
        log_level="DEBUG",
        log_format="json",
        model_roots=roots,
        torch_threads=3,
        worker_labels=frozenset({"gpu", "fast"}),
        worker_memory_bytes=2**34,
        job_retention_days=7.0,
    )
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    child = Settings.load()
    assert child.resolved_database_url == settings.resolved_database_url
    shared = ("data_dir", "lease_seconds", "log_level", "log_format", "model_roots", "torch_threads")
    for field in (*shared, "worker_labels", "worker_memory_bytes", "job_retention_days"):
        assert getattr(child, field) == getattr(settings, field), field


def test_a_service_without_worker_starts_none(tmp_path: Path) -> None:
    with supervised_worker(Settings(data_dir=tmp_path), enabled=False) as supervisor:
        assert supervisor is None


def test_a_worker_says_what_to_do_about_a_database_without_tables(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "planner.worker", "--parent-pid", str(os.getpid())]
    environment = os.environ | environment_of(Settings(data_dir=tmp_path))
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert ended.returncode == 1
    assert "run `bitplan db upgrade`" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_supervisor_needs_no_torch() -> None:
    code = "import sys, planner.worker.supervisor, planner.worker.loop; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=PATIENCE_SECONDS).returncode == 0
