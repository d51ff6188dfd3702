"""Figures with their limits, and the last line of a report."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure and its limit; ``at_least`` turns the limit around."""

    name: str
    value: float
    limit: float
    unit: str = ""
    at_least: bool = False

    @property
    def reached(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{self.name} {self.value:.3g}{self.unit} ({sign} {self.limit:g})"


def closing_line(goals: Sequence[Goal]) -> str:
    """``ok:`` and all figures, or ``short:`` and those that miss their limit."""
    missed = [goal for goal in goals if not goal.reached]
    return ("short: " if missed else "ok: ") + "; ".join(map(str, missed or goals))
