"""The runtimes known to planning, found by name. A new engine is one more module here with a ``RUNTIME``."""

from collections.abc import Mapping
from typing import Final

import planner.runtimes as package
from planner.discovery import offered
from planner.errors import InvalidRequestError
from planner.runtimes.profile import RuntimeProfile

FIRST = "generic"


def _profiles() -> dict[str, RuntimeProfile]:
    found: list[RuntimeProfile] = offered(package, "RUNTIME")
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
