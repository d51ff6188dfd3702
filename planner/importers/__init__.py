"""Imports: what other tools measured or decided, read into the words of this one."""

from planner.importers.port import AbstractImporter, ImportedAssignment, ImportedCells, ImportedMoments
from planner.importers.registry import IMPORTERS, choose_importer
from planner.importers.source import SourceFile

__all__ = [
    "IMPORTERS",
    "AbstractImporter",
    "ImportedAssignment",
    "ImportedCells",
    "ImportedMoments",
    "SourceFile",
    "choose_importer",
]
