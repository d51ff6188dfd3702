"""Arrays as bytes, in NumPy's own ``.npy`` format: shape and dtype travel with the numbers, and nothing is ever unpickled."""

import io

import numpy as np
from numpy.typing import ArrayLike, NDArray

from planner.jobs.errors import PermanentError


def pack(array: ArrayLike) -> bytes:
    """A float64 array as bytes.

    Raises:
        PermanentError: the array does not hold real numbers.
    """
    given = np.asarray(array)
    if given.dtype.kind not in "fiub":
        msg = f"a result must be an array of real numbers, not of {given.dtype}; correct the handler"
        raise PermanentError(msg)
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(given, dtype=np.float64).reshape(given.shape), allow_pickle=False)
    return buffer.getvalue()


def unpack(packed: bytes) -> NDArray[np.float64]:
    """The array that was packed, bit for bit.

    Raises:
        PermanentError: the bytes are damaged.
    """
    buffer = io.BytesIO(packed)
    try:
        array: NDArray[np.float64] = np.lib.format.read_array(buffer, allow_pickle=False)
    except (ValueError, EOFError) as error:
        msg = f"a stored result cannot be read ({error}); submit the job again"
        raise PermanentError(msg) from error
    if array.dtype != np.float64 or buffer.read(1):
        msg = f"a stored result is not one float64 array but {array.dtype} with more behind it; submit the job again"
        raise PermanentError(msg)
    return array
