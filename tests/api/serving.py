"""The service as an operator runs it: uvicorn in a process of its own, over a measured model of 224 layers."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from planner.storage.database import Database
from tests import synthetic

# The child tells which modules it has loaded whenever it reads a line; nothing of the service is changed for that.
_CHILD = """
import json, socket, sys, threading
import uvicorn

def tell_modules():
    for _line in sys.stdin:
        print(json.dumps(sorted(sys.modules)), flush=True)

threading.Thread(target=tell_modules, daemon=True).start()
config = uvicorn.Config("api.process:create_process_app", factory=True, log_level="warning")
uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
"""


@dataclass(frozen=True, slots=True)
class Served:
    """A running service.

    Attributes:
        client: a client of it.
        process: its process.
        url: of its database.
    """

    client: httpx2.Client
    process: subprocess.Popen[str]
    url: str

    def modules(self) -> set[str]:
        """Modules that the running process has loaded."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return set(json.loads(self.process.stdout.readline()))

    def libraries(self) -> set[str]:
        """Names of the files mapped into the process."""
        maps = Path(f"/proc/{self.process.pid}/maps").read_text()
        return {Path(fields[5]).name for line in maps.splitlines() if len(fields := line.split(maxsplit=5)) == 6}

    def cpu_seconds(self) -> float:
        """Processor time that the process has used, by all its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_megabytes(self) -> float:
        """The most memory (resident set) that the process ever had, in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(peak) * 1024 / 1e6


@contextmanager
def serve(folder: Path, *, blocks: int = 32) -> Iterator[Served]:
    """Start the service over a new SQLite database with a measured model."""
    url = f"sqlite:///{folder / 'bitplan.db'}"
    database = Database(url)
    database.upgrade()
    described = synthetic.description(blocks=blocks, hidden=256)
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)))
    database.close()
    with serve_database(folder, url) as served:
        yield served


@contextmanager
def serve_database(folder: Path, url: str) -> Iterator[Served]:
    """Start the service over a database that there is; the socket listens before the process begins, so nobody waits for it."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    environment = os.environ | {"BITPLAN_DATABASE_URL": url, "BITPLAN_DATA_DIR": str(folder), "BITPLAN_LOG_LEVEL": "WARNING"}
    process = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(listening.fileno())],
        pass_fds=[listening.fileno()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    listening.close()
    with process, httpx2.Client(base_url=address, timeout=60) as client:
        try:
            yield Served(client, process, url)
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            finally:
                process.kill()
