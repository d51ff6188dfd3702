"""Exports: a plan in the words of the engine that will load it."""
