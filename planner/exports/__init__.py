"""Exports: a plan in the words of the engine that will load it."""

from planner.exports.registry import exporters, get_exporter
from planner.exports.target import AbstractExporter, ExportedModel
from planner.exports.ties import Assignment, check_ties

__all__ = ["AbstractExporter", "Assignment", "ExportedModel", "check_ties", "exporters", "get_exporter"]
