"""The version that every answer names."""

from importlib.metadata import version

BITPLAN_VERSION = version("bitplan")
