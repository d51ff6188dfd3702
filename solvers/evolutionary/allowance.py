"""How much a search may do, and why it ended."""

from dataclasses import dataclass
from enum import StrEnum

from solvers.errors import SettingError


class Ending(StrEnum):
    """Why a search ended."""

    GENERATIONS = "generations"
    EVALUATIONS = "evaluations"
    UNITS = "units"
    DEADLINE = "deadline"
    EXHAUSTED = "exhausted"

    @property
    def advice(self) -> str:
        """What the caller may do."""
        return _ADVICE[self]


_ADVICE = {
    Ending.GENERATIONS: "All generations were made; allow more to go on from the checkpoint.",
    Ending.EVALUATIONS: "The evaluations were used up; allow more to go on from the checkpoint.",
    Ending.UNITS: "The sample units were used up; allow more to go on from the checkpoint.",
    Ending.DEADLINE: "The deadline passed; give more time to go on from the checkpoint.",
    Ending.EXHAUSTED: "No new choice was found around the last parent; more generations would not help.",
}


@dataclass(frozen=True, slots=True)
class Allowance:
    """What ends a search. A stage that would pass a limit is not begun; the seeds are measured whatever the limits say.

    A limit changes where a search stops and nothing before that: a search that goes on from its checkpoint with a higher
    limit makes what it would have made with that limit at once.

    Attributes:
        generations: generations, at most.
        evaluations: choices measured on a sample, at most; ``None`` for no limit.
        units: the same times the units of their samples (tokens, sequences), at most; ``None`` for no limit.
    """

    generations: int = 150
    evaluations: int | None = None
    units: int | None = None

    def __post_init__(self) -> None:
        for name in ("generations", "evaluations", "units"):
            value = getattr(self, name)
            if value is not None and value < 0:
                msg = f"{name} is {value}; give zero or more"
                raise SettingError(msg)

    def passed(self, evaluations: int, units: int) -> Ending | None:
        """The limit that so much work would pass."""
        if self.evaluations is not None and evaluations > self.evaluations:
            return Ending.EVALUATIONS
        if self.units is not None and units > self.units:
            return Ending.UNITS
        return None
