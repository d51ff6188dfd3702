"""The export targets, found by name. A new one is one more module here with an ``EXPORTER``."""

from functools import cache

import planner.exports as package
from planner.discovery import offered
from planner.errors import ExportError
from planner.exports.target import AbstractExporter

FIRST = "json"


@cache
def _exporters() -> dict[str, AbstractExporter]:
    found: list[AbstractExporter] = offered(package, "EXPORTER")
    return {exporter.name: exporter for exporter in sorted(found, key=lambda one: (one.name != FIRST, one.name))}


def exporters() -> tuple[AbstractExporter, ...]:
    """Every export target: our own first, then by name."""
    return tuple(_exporters().values())


def get_exporter(name: str) -> AbstractExporter:
    """The exporter of that name.

    Raises:
        ExportError: no such target; the message lists those that exist.
    """
    known = _exporters()
    try:
        return known[name]
    except KeyError:
        msg = f"unknown export target {name!r}: use one of {', '.join(known)}"
        raise ExportError(msg, targets=sorted(known)) from None
