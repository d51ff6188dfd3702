"""The checkpoint writers, found by target. A new one is one more module here with a ``WRITER``."""

from functools import cache

import planner.worker.checkpoint_writers as package
from planner.discovery import offered
from planner.errors import ExportError
from planner.runtimes import RuntimeProfile
from planner.worker.checkpoint_writers.port import AbstractCheckpointWriter


@cache
def _writers() -> dict[str, AbstractCheckpointWriter]:
    found: list[AbstractCheckpointWriter] = offered(package, "WRITER")
    return {writer.target: writer for writer in found}


def writer_for(runtime: RuntimeProfile, target: str | None) -> AbstractCheckpointWriter:
    """The writer of a target; by default of the first one that the runtime loads and that has a writer.

    Raises:
        ExportError: the runtime does not load the target, or nothing writes its checkpoints.
    """
    known = _writers()
    possible = [name for name in runtime.exports if name in known]
    chosen = target or next(iter(possible), None)
    if chosen in possible:
        return known[chosen]
    msg = f"no checkpoint of {chosen or runtime.name!r} can be written for runtime {runtime.name!r}"
    others = "its own tools do, by what `bitplan export` writes; dense weights for any engine: `bitplan apply --fake`"
    msg += f": use --target {' or '.join(possible)}" if possible else f": {others}"
    raise ExportError(msg, targets=possible)
