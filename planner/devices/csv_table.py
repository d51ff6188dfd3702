"""Latency tables as CSV: a line of column names, then one line for each shape, format and batch."""

import csv
from io import StringIO
from typing import Final

from planner.errors import InvalidRequestError

NEEDED: Final = ("out_features", "in_features", "format", "batch", "seconds")
COLUMNS: Final = (*NEEDED, "standard_deviation")


def parse_csv(text: str, *, most: int) -> list[tuple[int, dict[str, str | None]]]:
    """Lines of a table as numbers of lines and texts by column; an empty text is ``None``.

    Args:
        text: commas between the columns, in any order.
        most: lines that may follow the names.

    Raises:
        InvalidRequestError: missing or unknown columns, a line of another length, more lines than may be, no CSV at all.
    """
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    found: list[tuple[int, dict[str, str | None]]] = []
    try:
        names = [name.strip() for name in next(reader, [])]
        _check_names(names)
        for line in reader:
            if not line:
                continue
            if len(line) != len(names):
                msg = f"line {reader.line_num} has {len(line)} columns, but the first line names {len(names)}"
                raise InvalidRequestError(msg, line=reader.line_num)
            if len(found) == most:
                msg = f"the table has more than {most:,} lines: give the shapes, formats and batches that are planned with"
                raise InvalidRequestError(msg)
            found.append((reader.line_num, {name: value.strip() or None for name, value in zip(names, line, strict=True)}))
    except csv.Error as error:
        msg = f"line {reader.line_num} is no CSV: {error}"
        raise InvalidRequestError(msg, line=reader.line_num) from error
    return found


def _check_names(names: list[str]) -> None:
    missing = [name for name in NEEDED if name not in names]
    unknown = [name for name in names if name not in COLUMNS]
    if missing or unknown or len(set(names)) < len(names):
        wrong = f"{', '.join(missing)} missing" if missing else f"{', '.join(unknown) or 'a name twice'} too much"
        msg = f"the first line must name the columns {', '.join(NEEDED)} and may name standard_deviation: {wrong}"
        raise InvalidRequestError(msg)
