"""Memory that was freed and that the C library keeps."""

import ctypes
import sys


def give_back() -> None:
    """Have glibc return freed memory to the system: the holes that tensors of many sizes leave in its heap add up.

    A graph of a whole model leaves gigabytes of them. Other C libraries and systems have no such call; nothing is done there.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
