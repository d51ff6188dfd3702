"""`bitplan serve`, `worker`, `workers`, `demo`."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated, Final

import typer

from planner.cli.ports import dealt_port
from planner.cli.reporting import AsJson, out, show_json, show_table
from planner.cli.workspace import open_database, operations, settings
from planner.logs import configure_service_logs
from planner.settings import Settings

ANSWER_SECONDS: Final = 10
"""What a service that stops gives the answers it has begun: clients that do not read have no more."""


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (BITPLAN_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (BITPLAN_PORT).")] = None,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Serve only; workers run elsewhere.")] = False,
    processes: Annotated[
        int, typer.Option(min=1, max=64, help="Processes that answer; each has metrics, rate limits and memory of its own.")
    ] = 1,
) -> None:
    """The REST service and its page, with one supervised worker."""
    from planner.services.keys import check_listening
    from planner.worker.supervisor import supervised_worker

    database = open_database()
    host, port = host or settings().host, settings().port if port is None else port
    with database.read_session() as session:
        check_listening(session, host, require_key=settings().require_key)
    configure_service_logs(settings())
    out.print(f"bitplan on http://{host}:{port}/ (documentation at /docs), database {database!r}", markup=False, highlight=False)
    signal.signal(signal.SIGTERM, _leave)  # which uvicorn raises again once it has stopped
    with supervised_worker(settings(), enabled=not no_worker) as beside:
        _answer(host, port, processes, on_stop=None if beside is None else beside.begin_to_stop)


def _answer(host: str, port: int, processes: int, *, on_stop: Callable[[], None] | None) -> None:
    """Serve until a signal says stop, which is passed on at once."""
    import uvicorn
    from uvicorn.config import STARTUP_FAILURE

    from planner.cli.processes import PATIENCE_SECONDS, Processes
    from planner.cli.protocol import BoundedProtocol
    from planner.cli.server import Server

    config = uvicorn.Config(
        "api.process:create_process_app",
        factory=True,
        host=host,
        port=port,
        workers=processes,
        loop="asyncio",
        http=BoundedProtocol,
        timeout_worker_healthcheck=PATIENCE_SECONDS,
        timeout_graceful_shutdown=ANSWER_SECONDS,
        log_config=None,
        access_log=False,
    )
    if processes == 1:
        server = Server(config, on_stop=on_stop)
        with suppress(KeyboardInterrupt):
            server.run()
        if not server.started:
            sys.exit(STARTUP_FAILURE)
        return
    with ExitStack() as ends:
        try:
            shared = ends.enter_context(dealt_port(host, port))
        except OSError as error:
            sys.exit(f"bitplan cannot listen on {host}, port {port}: {error.strerror or error}; name another --port")
        Processes(config, [shared or config.bind_socket()], on_stop=on_stop).run()


def _leave(_number: int, _frame: FrameType | None) -> None:
    """End in order: by a signal's default the process would be gone before its worker has finished its unit."""
    raise SystemExit(0)


def worker(
    labels: Annotated[
        str | None, typer.Option(help="What jobs may ask for of this worker, comma-separated: gpu,cpu (BITPLAN_WORKER_LABELS).")
    ] = None,
    until_idle: Annotated[bool, typer.Option(help="Stop when no job is left.")] = False,
) -> None:
    """A worker alone: claims units of queued jobs until it is stopped."""
    from planner.worker.beginning import leave_on_signals
    from planner.worker.idle_threads import let_waiting_threads_sleep

    leave_on_signals()
    let_waiting_threads_sleep()
    from planner.worker.process import make_worker  # torch: seconds

    configure_service_logs(settings())
    given = settings() if labels is None else Settings.load(worker_labels=labels)
    running = make_worker(open_database(), given)
    running.stop_on_signals()
    out.print(f"worker {running.worker_id} on {open_database()!r}", markup=False, highlight=False)
    running.run(until_idle=until_idle)


def workers(as_json: AsJson = False) -> None:
    """Workers that are there, and those that went within a day, with what each works on."""
    found = operations().list_workers()
    if as_json:
        show_json(found)
        return
    rows = [
        [w.id, w.state.value, ",".join(w.labels), w.job or "", w.unit or w.step or "", f"{w.last_seen:%Y-%m-%d %H:%M:%S}"]
        for w in found.items
    ]
    show_table("workers", ["id", "state", "labels", "job", "unit", "last seen (UTC)"], rows)


def demo(
    output: Annotated[Path, typer.Option(help="Folder for the pictures and the database.")] = Path("demo"),
    fresh: Annotated[bool, typer.Option(help="Measure again even if the database has the curves already.")] = False,
    no_page: Annotated[
        bool, typer.Option("--no-page", help="End without serving the page, as it does where nobody sits at a terminal.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure, plan and evaluate SmolLM2-135M: the whole job on a real language model; ends with the page open on it."""
    from planner.cli.demo import run_demo

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    run_demo(output, fresh=fresh, as_json=as_json, page=not no_page)
