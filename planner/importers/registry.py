"""The importers known here, and which of them a file belongs to. A further tool is one more entry of this table."""

from collections.abc import Sequence
from typing import Final

from planner.errors import InvalidImportError
from planner.importers.autoround import AutoRoundImporter
from planner.importers.evopress import EvoPressImporter
from planner.importers.exllamav2 import ExLlamaV2Importer
from planner.importers.imatrix import ImatrixImporter
from planner.importers.mlx_lm import MlxLmImporter
from planner.importers.port import AbstractImporter
from planner.importers.source import SourceFile
from planner.importers.table import TableImporter

IMPORTERS: Final[dict[str, AbstractImporter]] = {
    importer.name: importer
    for importer in (
        ExLlamaV2Importer(),
        AutoRoundImporter(),
        MlxLmImporter(),
        ImatrixImporter(),
        EvoPressImporter(),
        TableImporter(),
    )
}


def choose_importer(files: Sequence[SourceFile], name: str | None = None) -> AbstractImporter:
    """The importer of that name; without one, the importer that all the files look like.

    Raises:
        InvalidImportError: no such importer, no file, files of several tools, or files of none.
    """
    if not files:
        msg = "no file to import: name at least one"
        raise InvalidImportError(msg)
    known = ", ".join(IMPORTERS)
    if name is not None:
        if name not in IMPORTERS:
            msg = f"no importer is called {name!r}: use one of {known}"
            raise InvalidImportError(msg, importers=list(IMPORTERS))
        return IMPORTERS[name]
    found = [[importer for importer in IMPORTERS.values() if importer.detects(file)] for file in files]
    for file, fitting in zip(files, found, strict=True):
        if not fitting:
            msg = f"{file.name} is of no known kind ({known}): name its kind to learn what is wrong with it; nothing was imported"
            raise InvalidImportError(msg, file=file.name, importers=list(IMPORTERS))
        if fitting[0] is not found[0][0]:
            msg = (
                f"{files[0].name} was written by {found[0][0].tool}, {file.name} by {fitting[0].tool}: "
                f"import the files of one tool at a time"
            )
            raise InvalidImportError(msg, file=file.name)
    return found[0][0]
