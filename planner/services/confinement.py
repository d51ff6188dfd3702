"""Which files of this machine a request may name: only those below the allowed roots, symbolic links followed.

What a request names is judged before it is opened, and what was found in its place is judged again afterwards, before anything
is said of it; a worker judges once more when it opens the files, hours later, with the roots of its own machine. Who may write
below a root can still exchange a file between the two: the fingerprint of the model shows it, and another user for the service
or a read-only mount prevents it.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from planner.errors import InvalidRequestError
from sensitivity.checkpoint.sources import is_hub_id


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
    if roots is None or (hub_ids and "/" in source and is_hub_id(source) and not os.path.lexists(source)):
        return
    allowed = [Path(os.path.realpath(root)) for root in roots]
    for path in _reached(source):
        if not any(path.is_relative_to(root) for root in allowed):
            msg = (
                f"{source!r} is not below a folder that this service may read: move it there, "
                "or ask the operator to add its folder to BITPLAN_MODEL_ROOTS"
            )
            raise InvalidRequestError(msg)


def confine_found(path: str, roots: Sequence[Path] | None, *, source: str) -> None:
    """As ``confine``, for the path that a source led to; that of a hub id may be in the hub's cache, too.

    Args:
        path: the directory or file.
        roots: allowed folders; ``None`` allows every path.
        source: what was asked for.

    Raises:
        InvalidRequestError: outside of every root.
    """
    if roots is not None:
        confine(path, [*roots, *(_hub_cache() if is_hub_id(source) else ())])


def _hub_cache() -> tuple[Path, ...]:
    from huggingface_hub import constants  # only hub ids need it

    return (Path(constants.HF_HUB_CACHE),)


def _reached(source: str) -> Iterator[Path]:
    """The path, and the links of a folder, as they are once links are followed; nothing for what is no path at all."""
    try:
        real = Path(os.path.realpath(source))
        yield real
        if real.is_dir():
            with os.scandir(real) as entries:
                yield from (Path(os.path.realpath(entry.path)) for entry in entries if entry.is_symlink())
    except (OSError, ValueError) as error:  # a folder that may not be read, a NUL, a lone surrogate
        msg = f"{source!r} cannot be read: check the path and its permissions"
        raise InvalidRequestError(msg) from error
