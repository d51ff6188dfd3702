"""How long the exact search may take: the same on every machine."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings of ``Mckp`` that its parts share; their meaning is told there."""

    max_states: int
    max_nodes: int
    max_core: int
    program_gap: float
