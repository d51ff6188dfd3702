"""A table of losses: what anybody measured with whatever tool, as CSV. The CSV of curves is one too."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Final, final

from planner.errors import InvalidImportError
from planner.importers.names import ModelNames
from planner.importers.port import AbstractImporter, ImportedCells, OptionValue
from planner.importers.source import SourceFile
from planner.importers.values import number
from sensitivity.errors import UnknownFormatError
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import resolve_format

COLUMNS: Final = ("layer", "format", "loss")
_LONGEST_LINE: Final = 10_000


@final
class TableImporter(AbstractImporter):
    """A header with ``layer``, ``format`` and ``loss`` among its columns, then a line for each layer in each format.

    A loss is what storing this layer alone in this format costs, in one unit throughout the file; losses of layers are added.
    A line whose loss is empty says that there is none. Formats are ours or other tools' (``EXL3_K4``, ``MLX_AFFINE4_G64``), so
    that a runtime whose formats nothing here can round has curves all the same.
    """

    name: ClassVar[str] = "table"
    tool: ClassVar[str] = "a table"
    version: ClassVar[int] = 1

    def detects(self, file: SourceFile) -> bool:
        """Its first line names the three columns."""
        try:
            return set(COLUMNS) <= set(_header(file))
        except InvalidImportError:
            return False

    def read(self, files: Sequence[SourceFile], names: ModelNames, options: Mapping[str, OptionValue]) -> ImportedCells:
        """Files of one measurement together; a layer stands in a format once."""
        losses: dict[str, dict[CandidateFormat, float]] = {}
        skipped: dict[str, None] = {}
        for file in files:
            for line, row in _rows(file):
                layer = names.find(row["layer"], file)
                if layer is None:
                    skipped[row["layer"]] = None
                    continue
                fmt = _format(row["format"], file, line)
                known = losses.setdefault(layer.name, {})
                if fmt in known:
                    file.refuse(f"{layer.name} in {fmt.name} is there twice", key=line)
                if row["loss"]:
                    known[fmt] = _loss(row["loss"], file, line)
        if not any(losses.values()):
            files[0].refuse("it has a header and no loss of a layer")
        return ImportedCells(
            losses={name: known for name, known in losses.items() if known},
            parameters={},
            additive=True,
            skipped=tuple(skipped),
            notes=("losses are taken as they stand: a table does not say its unit nor how sure it is",),
        )


def _header(file: SourceFile) -> list[str]:
    first = file.text.lstrip("\ufeff").split("\n", 1)[0][:_LONGEST_LINE]
    return [name.strip() for name in first.split(",")]


def _rows(file: SourceFile) -> Iterator[tuple[str, dict[str, str]]]:
    """Lines as the message of an error calls them, with the three columns; blank lines are passed over."""
    header = _header(file)
    missing = [name for name in COLUMNS if header.count(name) != 1]
    if missing:
        file.refuse(f"its first line must name the columns {', '.join(COLUMNS)}, each once; look at {', '.join(missing)}")
    at = {name: header.index(name) for name in COLUMNS}
    reader = csv.reader(file.text.lstrip("\ufeff").splitlines()[1:], strict=True)
    try:
        for row in reader:
            line = f"line {reader.line_num + 1}"
            if not row:
                continue
            if len(row) != len(header):
                file.refuse(f"{len(header)} values are expected, not {len(row)}", key=line)
            yield line, {name: row[column].strip() for name, column in at.items()}
    except csv.Error as error:
        file.refuse(f"it is no CSV ({error})", key=f"line {reader.line_num + 1}")


def _format(name: str, file: SourceFile, line: str) -> CandidateFormat:
    try:
        return resolve_format(name[:100])
    except UnknownFormatError as error:
        file.refuse(str(error), key=line)


def _loss(text: str, file: SourceFile, line: str) -> float:
    try:
        value = float(text)
    except ValueError:
        file.refuse(f"a loss is a number, not {text[:40]!r}", key=line)
    return number(value, file, line)
