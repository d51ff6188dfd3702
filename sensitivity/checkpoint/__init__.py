"""Checkpoints described from their configuration and headers only."""

from sensitivity.checkpoint.description import Layer, ModelDescription, SourceKind
from sensitivity.checkpoint.reading import describe, verify

__all__ = ["Layer", "ModelDescription", "SourceKind", "describe", "verify"]
