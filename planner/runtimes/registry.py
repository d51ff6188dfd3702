"""The runtimes known to planning, found by name. A new engine is one more module here with a ``RUNTIME``."""

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Final

import planner.runtimes as package
from planner.errors import InvalidRequestError
from planner.runtimes.profile import RuntimeProfile

FIRST = "generic"


def _profiles() -> dict[str, RuntimeProfile]:
    names = sorted(info.name for info in pkgutil.iter_modules(package.__path__, prefix=f"{package.__name__}."))
    modules = [importlib.import_module(name) for name in names if name != __name__]
    found: list[RuntimeProfile] = [module.RUNTIME for module in modules if hasattr(module, "RUNTIME")]
    return {profile.name: profile for profile in sorted(found, key=lambda one: (one.name != FIRST, one.name))}


RUNTIMES: Final[Mapping[str, RuntimeProfile]] = _profiles()


def get_runtime(name: str) -> RuntimeProfile:
    """The profile of that name.

    Raises:
        InvalidRequestError: no such runtime; the message lists those that exist.
    """
    try:
        return RUNTIMES[name]
    except KeyError:
        msg = f"unknown runtime {name!r}: use one of {', '.join(RUNTIMES)}"
        raise InvalidRequestError(msg, runtimes=sorted(RUNTIMES)) from None
