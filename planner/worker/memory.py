"""Memory of this process and of the machine that it runs on."""

import resource
import sys
from pathlib import Path
from typing import Final

import psutil

_STATUS: Final = Path("/proc/self/status")
_CLEAR: Final = Path("/proc/self/clear_refs")
_GROUP: Final = Path("/sys/fs/cgroup")


def available_bytes() -> int:
    """What can be had without taking it from others: of the machine, and of the container if one limits us."""
    available = int(psutil.virtual_memory().available)
    limit = _group_bytes("memory.max")
    return available if limit is None else max(0, min(available, limit - (_group_bytes("memory.current") or 0)))


def total_bytes() -> int:
    """All memory of the machine, or of the container if one limits us."""
    total = int(psutil.virtual_memory().total)
    limit = _group_bytes("memory.max")
    return total if limit is None else min(total, limit)


def _group_bytes(name: str) -> int | None:
    """A figure of the container; ``None`` where there is no limit, no control group of version 2, or we are not at its root."""
    try:
        said = (_GROUP / name).read_text().strip()
    except OSError:
        return None
    return None if said == "max" else int(said)


def reset_peak() -> None:
    """Let the peak begin anew, where the system can (Linux)."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return


def peak_bytes() -> int:
    """The most memory that this process has had since ``reset_peak``, or since it began where that cannot be reset."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
