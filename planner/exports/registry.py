"""The export targets, found by name. A new one is one more module here with an ``EXPORTER``."""

import importlib
import pkgutil
from functools import cache

import planner.exports as package
from planner.errors import ExportError
from planner.exports.target import AbstractExporter

FIRST = "json"


@cache
def _exporters() -> dict[str, AbstractExporter]:
    names = sorted(info.name for info in pkgutil.iter_modules(package.__path__, prefix=f"{package.__name__}."))
    modules = [importlib.import_module(name) for name in names if name != __name__]
    found: list[AbstractExporter] = [module.EXPORTER for module in modules if hasattr(module, "EXPORTER")]
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
