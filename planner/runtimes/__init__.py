"""Runtime profiles: legal formats, tied layers and stored bits per engine."""

from planner.runtimes.profile import RuntimeProfile
from planner.runtimes.registry import RUNTIMES, get_runtime

__all__ = ["RUNTIMES", "RuntimeProfile", "get_runtime"]
