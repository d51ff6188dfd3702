"""A database, the service over it, workers, and a client that does not give up."""

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from planner.jobs.job import JobState
from planner.storage.database import Database
from tests.kill.processes import PATIENCE_SECONDS, POLL_SECONDS, Running, Starter, wait
from tests.kill.workload import Workload

_BUSY = (429, 502, 503, 504)


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@dataclass(slots=True)
class Site:
    """One installation of bitplan.

    Attributes:
        name: part of the names of its logs.
        folder: work directories, and the embedded database, are in it.
        url: its database.
        starter: starts its processes.
        lease_seconds: of all its workers.
        trouble: environment of workers whose units go wrong.
    """

    name: str
    folder: Path
    url: str
    starter: Starter
    lease_seconds: float
    trouble: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    workers: list[Running] = field(default_factory=list)
    api: Running | None = None
    _client: httpx2.Client = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._client = httpx2.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10.0)

    def close(self) -> None:
        """Kill its processes."""
        self._client.close()
        for running in [*self.workers, *([self.api] if self.api else [])]:
            running.end_session()

    def upgrade(self) -> None:
        """`bitplan db upgrade`."""
        database = Database(self.url)
        database.upgrade()
        database.close()

    def environment(self, folder: Path, url: str | None = None) -> dict[str, str]:
        """Settings of a process."""
        return {
            "BITPLAN_DATABASE_URL": url or self.url,
            "BITPLAN_DATA_DIR": str(folder),
            "BITPLAN_LEASE_SECONDS": str(self.lease_seconds),
        }

    def serve(self, *, with_worker: bool = False) -> Running:
        """`bitplan serve`, with its supervised worker if asked for; does not wait for it."""
        folder = self._work_directory("api")
        options = [] if with_worker else ["--no-worker"]
        arguments = ["serve", "--port", str(self.port), *options]
        self.api = self.starter.start(arguments, self.environment(folder), name=f"{self.name}-api", folder=folder)
        return self.api

    def work(self, *, network: str | None = None, url: str | None = None) -> Running:
        """`bitplan worker`, in a work directory of its own."""
        number = len(self.workers)
        folder = self._work_directory(f"worker-{number}")
        running = self.starter.start(
            ["worker"],
            {**self.environment(folder, url), **self.trouble},
            name=f"{self.name}-worker-{number}",
            folder=folder,
            network=network,
        )
        self.workers.append(running)
        return running

    def living(self) -> list[Running]:
        """Workers that have not ended."""
        return [worker for worker in self.workers if worker.is_alive]

    def request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """One request, once.

        Raises:
            httpx2.TransportError: nobody answers.
        """
        return self._client.request(method, path, **options)

    def is_up(self) -> bool:
        """Whether the service answers at all."""
        try:
            return self.request("GET", "/healthz").is_success
        except httpx2.TransportError:
            return False

    def insist(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """The same request again and again until it is answered, as a client does whose connection breaks.

        Raises:
            TimeoutError: nobody answers, or only that the service is not ready.
            AssertionError: the answer is an error that does not pass.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        last = "nothing"
        while time.monotonic() < deadline:
            try:
                answer = self.request(method, path, **options)
            except httpx2.TransportError as error:
                last = repr(error)
            else:
                last = f"{answer.status_code} {answer.text}"
                if answer.status_code not in _BUSY:
                    assert answer.is_success, f"{method} {path}: {last}"
                    document: dict[str, Any] = answer.json()
                    return document
            time.sleep(POLL_SECONDS)
        msg = f"{method} {path} was not answered in {PATIENCE_SECONDS:.0f} s; the last was {last}"
        raise TimeoutError(msg)

    def submit(self, workload: Workload) -> str:
        """Register the model, store the text and queue the job; each request is sent until it is answered."""
        self.insist("POST", "/v1/models", json=workload.registration())
        calibration = self.insist("POST", "/v1/calibrations", json=workload.calibration())["id"]
        job: str = self.insist("POST", "/v1/jobs", json=workload.job(calibration))["id"]
        return job

    def look(self, job: str) -> dict[str, Any] | None:
        """The job's document, or ``None`` if the service cannot say right now."""
        try:
            answer = self.request("GET", f"/v1/jobs/{job}")
        except httpx2.TransportError:
            return None
        document: dict[str, Any] | None = answer.json() if answer.is_success else None
        return document

    def wait_until(self, job: str, done: float) -> None:
        """Wait until so many units are done.

        Raises:
            TimeoutError: they are not.
        """
        wait(lambda: (self.look(job) or {"done": 0})["done"] >= done, f"{done:.0f} units of job {job} are done")

    def end(self, job: str, *, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """The job's document once it has ended.

        Raises:
            TimeoutError: it has not.
        """
        found: dict[str, Any] = {}

        def ended() -> bool:
            found.update(self.look(job) or {})
            return bool(found) and JobState(found["state"]).is_final

        try:
            wait(ended, f"job {job} ends", seconds=seconds)
        except TimeoutError as error:
            msg = f"{error}; it is {found}"
            raise TimeoutError(msg) from error
        return found

    def _work_directory(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder
