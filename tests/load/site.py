"""`bitplan serve` as an operator starts it: a measured model of 224 layers, and a tiny one that its worker measures meanwhile."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx2
import psutil

from planner.schemas.calibrations import CreateCalibration
from planner.storage.database import Database
from tests import synthetic
from tests.kill.site import free_port
from tests.tiny_models import tiny_llama

MODEL, LARGE, TINY = "toy", "large", "tiny"
BLOCKS = 32
LARGE_LAYERS = 44_544
JOBS = 10
PATIENCE_SECONDS = 120
MEASURING_PATIENCE_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Site:
    """A running service.

    Attributes:
        address: where it listens.
        client: a client of it.
        process: what the operator started: the service and, below it, its worker.
        folder: what it stores, and its log.
    """

    address: str
    client: httpx2.Client
    process: psutil.Process
    folder: Path

    def processor_seconds(self, *, worker: bool) -> float:
        """Processor time of the worker, or of all other processes of the service."""
        below = [process for process in self.process.children(recursive=True) if _is_worker(process) == worker]
        return float(sum(sum(process.cpu_times()[:2]) for process in (below if worker else [self.process, *below])))

    def units_done(self, jobs: Sequence[str]) -> int:
        """Units of jobs that are recorded as done."""
        return sum(self.client.get(f"/v1/jobs/{job}").json()["done"] or 0 for job in jobs)

    def megabytes(self) -> float:
        """Resident memory of the largest process that answers requests."""
        answering = [process for process in self.process.children(recursive=True) if not _is_worker(process)]
        return float(max(process.memory_info().rss for process in [self.process, *answering])) / 1e6


def fill(url: str, *, large: bool = False) -> None:
    """An upgraded database with measured models: one of 224 layers and 8 formats, and one of 44,544 if it is asked for."""
    database = Database(url)
    database.upgrade()
    models = [synthetic.description(blocks=BLOCKS, hidden=256, name=MODEL)]
    if large:
        whole = synthetic.description(blocks=LARGE_LAYERS // 7 + 1, hidden=256, name=LARGE)
        models.append(replace(whole, layers=whole.layers[:LARGE_LAYERS]))
    for described in models:
        with database.session() as session:
            synthetic.add_model(session, described)
            synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)))
    database.close()


@contextmanager
def serve(url: str, folder: Path, *, processes: int, worker: bool = True) -> Iterator[Site]:
    """Start the service and wait until it answers.

    Raises:
        TimeoutError: it does not; the message ends with its log.
    """
    port = free_port()
    settings = {"DATABASE_URL": url, "DATA_DIR": str(folder), "PORT": str(port), "LOG_LEVEL": "WARNING"}
    environment = os.environ | {f"BITPLAN_{name}": value for name, value in settings.items()}
    command = [str(Path(sys.executable).with_name("bitplan")), "serve", "--processes", str(processes)]
    command += [] if worker else ["--no-worker"]
    log = (folder / "service.log").open("w")
    with log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process:
        address = f"http://127.0.0.1:{port}"
        try:
            with httpx2.Client(base_url=address, timeout=60) as client:
                _wait(client, folder)
                yield Site(address, client, psutil.Process(process.pid), folder)
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            finally:
                process.kill()


@contextmanager
def measuring(site: Site, *, seed: int) -> Iterator[list[str]]:
    """A tiny model that the worker measures from before the block until after it; ids of the jobs, the first of them begun.

    A unit is about a second of processor time; the jobs have several hundred of them, more than a load lasts for. The first unit,
    before which the model is loaded and rounded, is done when the block begins.
    """
    path = tiny_llama(site.folder / TINY, seed=seed, blocks=4, hidden=128, ffn=256)
    _posted(site.client, "/v1/models", source=str(path), name=TINY)
    text = CreateCalibration(text=synthetic.TEXT * 40, sequences=64, sequence_length=128, held_out_sequences=2, name="load")
    calibration = _posted(site.client, "/v1/calibrations", **text.model_dump(mode="json", exclude_none=True))["id"]
    jobs = [
        _posted(site.client, "/v1/jobs", kind="sensitivity", model=TINY, probe="kl", calibration=calibration, seed=number)["id"]
        for number in range(JOBS)
    ]
    end = time.monotonic() + MEASURING_PATIENCE_SECONDS
    while site.units_done(jobs) == 0:
        if time.monotonic() > end:
            msg = f"no worker measured anything within {MEASURING_PATIENCE_SECONDS} s"
            raise TimeoutError(msg)
        time.sleep(0.2)
    yield jobs


def _posted(client: httpx2.Client, path: str, **body: object) -> dict[str, str]:
    answer = client.post(path, json=body)
    answer.raise_for_status()
    found: dict[str, str] = answer.json()
    return found


def _wait(client: httpx2.Client, folder: Path) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx2.TransportError:
            pass
        if time.monotonic() > end:
            msg = f"the service did not answer within {PATIENCE_SECONDS} s:\n{(folder / 'service.log').read_text()[-2000:]}"
            raise TimeoutError(msg)
        time.sleep(0.2)


def _is_worker(process: psutil.Process) -> bool:
    return "planner.worker" in process.cmdline()
