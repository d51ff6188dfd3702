"""`bitplan serve --processes 2`, started as an operator starts it."""

import signal
import time
from pathlib import Path

import httpx2
import psutil

from planner.storage.database import Database
from tests.load.site import PATIENCE_SECONDS, Site, serve


def answering(site: Site) -> list[psutil.Process]:
    return [child for child in site.process.children() if _answers(child)]


def _answers(child: psutil.Process) -> bool:
    try:
        return "spawn_main" in " ".join(child.cmdline())
    except psutil.Error:  # it is gone
        return False


def ask(site: Site, *, times: int = 6) -> None:
    """Over a connection each."""
    for _ in range(times):
        assert httpx2.get(f"{site.address}/readyz", timeout=PATIENCE_SECONDS).status_code == 200


def test_processes_on_one_port_answer_though_one_is_stopped_or_killed_and_none_outlives_its_parent(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'bitplan.db'}"
    Database(url).upgrade()
    with serve(url, tmp_path, processes=2, worker=False) as site:
        first, second = answering(site)
        ask(site)
        first.send_signal(signal.SIGSTOP)
        ask(site)  # whatever it was dealt, the other one answers
        second.kill()
        end = time.monotonic() + PATIENCE_SECONDS
        while second in (found := answering(site)) or len(found) < 2:  # it is replaced, with the first one still stopped
            assert time.monotonic() < end
            time.sleep(0.1)
        ask(site)
        first.send_signal(signal.SIGCONT)
        site.process.kill()
        _, alive = psutil.wait_procs(found, timeout=PATIENCE_SECONDS)
        assert alive == []
