"""Which files of this machine a request may name: only those below the allowed roots, symbolic links followed."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from planner.errors import InvalidRequestError

_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")


def confine(source: str, roots: Sequence[Path] | None, *, hub_ids: bool = False) -> None:
    """Refuse a path outside the roots, or a folder that holds a link which leads outside.

    Whether a refused path exists is not said.

    Args:
        source: path, or hub id where those are allowed.
        roots: allowed folders; ``None`` allows every path.
        hub_ids: let ``organisation/model`` pass when no such path exists here.

    Raises:
        InvalidRequestError: outside of every root.
    """
    if roots is None or (hub_ids and _HUB_ID.fullmatch(source) and not os.path.lexists(source)):
        return
    allowed = [Path(os.path.realpath(root)) for root in roots]
    for path in _reached(Path(source)):
        if not any(path.is_relative_to(root) for root in allowed):
            msg = (
                f"{source!r} is not below a folder that this service may read: move it there, "
                "or ask the operator to add its folder to BITPLAN_MODEL_ROOTS"
            )
            raise InvalidRequestError(msg)


def _reached(path: Path) -> Iterator[Path]:
    """The path and the entries of a folder, as they are once links are followed."""
    real = Path(os.path.realpath(path))
    yield real
    if real.is_dir():
        with os.scandir(real) as entries:
            yield from (Path(os.path.realpath(entry.path)) for entry in entries)
