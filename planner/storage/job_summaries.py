"""What lists and events say of a job's request: all but its long tables, which are megabytes where a model has many layers."""

import json
from collections.abc import Mapping
from typing import Any, Final

LEFT_OUT: Final = "left_out"
"""Part of a summary that says how many entries each table has that is not in it."""

LONGEST: Final = 4_000
"""Characters of JSON of the longest part that a summary repeats."""


def summary_of(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The short parts of a job's payload, and under ``left_out`` the number of entries of each long one."""
    short: dict[str, Any] = {}
    long: dict[str, int] = {}
    for name, value in payload.items():
        if isinstance(value, dict | list) and (len(value) > LONGEST or len(json.dumps(value)) > LONGEST):
            long[name] = len(value)
        else:
            short[name] = value
    return short | ({LEFT_OUT: long} if long else {})
