"""What planning must know of rounding methods without torch: their names and versions. A test compares with the methods."""

from sensitivity.errors import FormatError

VERSIONS = {"rtn": 1}


def get_rounding_version(name: str) -> int:
    """Version of a rounding method's numbers, part of a cell's identity.

    Raises:
        FormatError: no such method; the message lists those that exist.
    """
    try:
        return VERSIONS[name]
    except KeyError:
        msg = f"unknown rounding method {name!r}: use one of {', '.join(sorted(VERSIONS))}"
        raise FormatError(msg) from None
