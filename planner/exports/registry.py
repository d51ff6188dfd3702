"""The export targets. A new one is one more exporter in this table."""

from planner.errors import ExportError
from planner.exports.compressed_tensors import CompressedTensorsExporter
from planner.exports.json_plan import JsonExporter
from planner.exports.target import AbstractExporter

_EXPORTERS: dict[str, AbstractExporter] = {exporter.name: exporter for exporter in (JsonExporter(), CompressedTensorsExporter())}


def exporters() -> tuple[AbstractExporter, ...]:
    """Every export target."""
    return tuple(_EXPORTERS.values())


def get_exporter(name: str) -> AbstractExporter:
    """The exporter of that name.

    Raises:
        ExportError: no such target; the message lists those that exist.
    """
    try:
        return _EXPORTERS[name]
    except KeyError:
        msg = f"unknown export target {name!r}: use one of {', '.join(_EXPORTERS)}"
        raise ExportError(msg, targets=sorted(_EXPORTERS)) from None
