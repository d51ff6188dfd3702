"""`bitplan device`: the hardware that plans run on, and what was measured on it."""

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from planner.cli import options
from planner.cli.device_measuring import measure_here
from planner.cli.reporting import AsJson, in_bytes, out, show_json, show_table
from planner.cli.workspace import operations
from planner.errors import InvalidRequestError
from planner.schemas.devices import CSV_LIMIT, CreateDevice, DeviceDocument, FigureDocument, PutLatencies

device = typer.Typer(no_args_is_help=True, help="Devices: memory, rates, measured latencies of linear layers.")

DeviceArgument = Annotated[str, typer.Argument(help="Name of the device.")]
_DECIMALS: Final = ".4g"


@device.command("list")
def list_devices(as_json: AsJson = False) -> None:
    """Devices that come with bitplan, then your own."""
    found = operations().list_devices()
    if as_json:
        show_json(found)
        return
    rows = [
        [
            item.name,
            " + ".join(_size(pool.size) for pool in item.pools),
            f"{item.pools[0].bandwidth.value / 1e9:{_DECIMALS}}",
            f"{item.peaks[item.profile().dequantized].value / 1e12:{_DECIMALS}}",
            str(item.measured_entries or ""),
        ]
        for item in found.items
    ]
    show_table("devices", ["name", "memory", "GB/s", "unquantized TFLOPS", "measured"], rows)


@device.command("show")
def show(name: DeviceArgument, as_json: AsJson = False) -> None:
    """One device: every figure with its source, and what was measured on it."""
    found = operations().get_device(name)
    if as_json:
        show_json(found)
        return
    rows = [[f"{what} ({figure.source})", value, figure.status.value] for what, value, figure in _figures(found)]
    show_table(f"{found.name}: {found.description}", ["figure", "value", "status"], rows)
    if found.measured_entries:
        table = operations().get_latencies(name)
        threads = f"{table.threads or '?'} thread{'' if table.threads == 1 else 's'}"
        where = f"{table.processor}, {threads}, {table.software}"
        out.print(f"{found.measured_entries} measured latencies: {where}", markup=False, highlight=False, soft_wrap=True)
        out.print(table.method, markup=False, highlight=False, soft_wrap=True)


@device.command("add")
def add(
    file: Annotated[Path, typer.Argument(help="JSON: what `bitplan device show NAME --json` prints, without its last facts.")],
    as_json: AsJson = False,
) -> None:
    """Keep a device of your own."""
    facts = _read_json(file)
    if not isinstance(facts, dict):
        msg = f"{file} holds no device: give one JSON object, such as {{'name': …, 'pools': […], 'peaks': {{…}}}}"
        raise InvalidRequestError(msg)
    own = {key: value for key, value in facts.items() if key not in _SAID_BY_US}
    found, created = operations().create_device(CreateDevice.model_validate(own))
    if as_json:
        show_json(found)
    else:
        out.print(f"{'stored' if created else 'stored already'}: {found.name}", markup=False, highlight=False)


_SAID_BY_US: Final = DeviceDocument.model_fields.keys() - CreateDevice.model_fields.keys()


@device.command("delete")
def delete(name: DeviceArgument, as_json: AsJson = False) -> None:
    """Forget a device and its latencies; plans that were made for it stay."""
    operations().delete_device(name)
    if as_json:
        show_json({"deleted": name})


@device.command("import")
def import_table(
    name: DeviceArgument,
    file: Annotated[
        Path, typer.Argument(help="CSV with a line of names (out_features, in_features, format, batch, seconds), or JSON.")
    ],
    as_json: AsJson = False,
) -> None:
    """Replace what was measured on a device by a table from a file."""
    if file.suffix.lower() == ".csv":
        request = PutLatencies(csv=_read_text(file))
    else:
        found = _read_json(file)
        request = PutLatencies.model_validate({"entries": found} if isinstance(found, list) else found)
    _report(operations().put_latencies(name, request), as_json=as_json)


@device.command("measure")
def measure(
    name: DeviceArgument,
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="Measure the shapes of this model's layers.")] = None,
    shape: Annotated[list[str] | None, typer.Option("--shape", help="OUTxIN: a shape to measure, such as 4096x1024.")] = None,
    formats: options.Formats = None,
    batches: Annotated[str | None, typer.Option("--batches", help="Rows of activations, joined by commas.")] = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, max=1024, help="Of a kernel; by default all cores.")] = None,
    as_json: AsJson = False,
) -> None:
    """Time the linear kernels of this machine's processor, and keep them as a device; a second run adds to its table."""
    bitplan = operations()
    found = measure_here(
        bitplan,
        name,
        models=model or [],
        shapes=shape or [],
        formats=options.read_list(formats),
        batches=options.read_list(batches),
        threads=threads,
    )
    _report(found, as_json=as_json)


def _report(found: DeviceDocument, *, as_json: bool) -> None:
    if as_json:
        show_json(found)
    else:
        out.print(f"{found.name}: {found.measured_entries} measured latencies", markup=False, highlight=False, soft_wrap=True)


def _size(size: FigureDocument | None) -> str:
    return "?" if size is None else in_bytes(int(size.value))


def _figures(found: DeviceDocument) -> list[tuple[str, str, FigureDocument]]:
    rows: list[tuple[str, str, FigureDocument]] = []
    for pool in found.pools:
        rows.append((f"{pool.name} bandwidth", f"{pool.bandwidth.value / 1e9:{_DECIMALS}} GB/s", pool.bandwidth))
        if pool.size is not None:
            rows.append((f"{pool.name} size", in_bytes(int(pool.size.value)), pool.size))
    rows.extend((f"peak {name}", f"{figure.value / 1e12:{_DECIMALS}} T/s", figure) for name, figure in found.peaks.items())
    rows.append(("a kernel's overhead", f"{found.kernel_seconds.value * 1e6:{_DECIMALS}} µs", found.kernel_seconds))
    rows.append(("share of bandwidth", f"{found.bandwidth_share.value:{_DECIMALS}}", found.bandwidth_share))
    return rows


def _read_text(file: Path) -> str:
    try:
        if file.stat().st_size > 4 * CSV_LIMIT:
            msg = f"{file} is larger than {4 * CSV_LIMIT // 2**20} MiB: give a table of the shapes that are planned with"
            raise InvalidRequestError(msg)
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"cannot read {file}: {error}; name a text file"
        raise InvalidRequestError(msg) from error


def _read_json(file: Path) -> Any:
    try:
        return json.loads(_read_text(file))
    except (ValueError, RecursionError) as error:
        msg = f"{file} is no JSON ({error}): give what `bitplan device show NAME --json` prints, a latency table, or a .csv file"
        raise InvalidRequestError(msg) from error
