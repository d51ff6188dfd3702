"""`bitplan serve --processes 2`, started as an operator starts it."""

from pathlib import Path

import httpx2
import psutil

from planner.storage.database import Database
from tests.load.site import PATIENCE_SECONDS, serve


def test_several_processes_answer_on_one_port_and_none_outlives_its_parent(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'bitplan.db'}"
    Database(url).upgrade()
    with serve(url, tmp_path, processes=2, worker=False) as site:
        answering = [child for child in site.process.children() if "spawn_main" in " ".join(child.cmdline())]
        assert len(answering) == 2
        for _ in range(6):  # a connection each
            assert httpx2.get(f"{site.address}/readyz").status_code == 200
        site.process.kill()
        _, alive = psutil.wait_procs(answering, timeout=PATIENCE_SECONDS)
        assert alive == []
