"""Plug-ins of a package: what its modules offer under a name, so that a new one is one more module."""

import importlib
import pkgutil
from types import ModuleType
from typing import Any


def offered(package: ModuleType, name: str) -> list[Any]:
    """What the modules of a package call ``name``, in the order of the modules' own names; the caller knows the type.

    Args:
        package: whose modules are imported, except those of packages within.
        name: module-level name, such as ``EXPORTER``; modules without it offer nothing.
    """
    names = sorted(info.name for info in pkgutil.iter_modules(package.__path__, prefix=f"{package.__name__}."))
    modules = [importlib.import_module(found) for found in names]
    return [getattr(module, name) for module in modules if hasattr(module, name)]
