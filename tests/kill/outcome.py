"""What became of a disturbed job, beside the same job undisturbed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, final

from tests.kill.ledger import Record


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """Figures of one scenario.

    Attributes:
        name: of the scenario.
        units: of the job.
        lost: units without a result at the end of the job.
        twice: units that were recorded again, or counted again.
        unequal: units and cells whose numbers differ from the undisturbed run's in any bit, or are missing.
        seconds: from the submission to the end of the job.
        facts: what was done to it, and what is worth knowing.
        complaints: what else is wrong.
    """

    name: str
    units: int
    lost: int
    twice: int
    unequal: int
    seconds: float
    facts: str
    complaints: tuple[str, ...] = ()

    @classmethod
    def failed(cls, name: str, why: str) -> Self:
        """A scenario that did not come to its end."""
        return cls(name, 0, 0, 0, 0, 0.0, "no figures", (why,))

    @property
    def is_good(self) -> bool:
        """Nothing lost, nothing twice, every bit the same, and no complaint."""
        return not (self.lost or self.twice or self.unequal or self.complaints)

    def __str__(self) -> str:
        said = (
            f"{self.name}: {self.units} units in {self.seconds:.0f} s, {self.lost} lost, {self.twice} twice, "
            f"{self.unequal} unequal; {self.facts}"
        )
        return "; ".join((said, *self.complaints))


def judge(
    name: str,
    document: Mapping[str, Any],
    *,
    record: Record,
    reference: Record,
    twice: int,
    seconds: float,
    facts: str,
    complaints: tuple[str, ...] = (),
) -> Outcome:
    """Compare what is stored with the undisturbed run and with what the job says of itself."""
    wrong = [*complaints]
    if document["state"] != "succeeded" or document["failed"]:
        wrong.append(f"the job has {document['state']}, {document['failed']} units failed: {document['reason']}")
    total = document["total"] or 0
    if total != len(reference.results):
        wrong.append(f"it has {total} units instead of {len(reference.results)}")
    return Outcome(
        name=name,
        units=total,
        lost=len(reference.results.keys() - record.results.keys()),
        twice=twice + max(document["done"] - len(record.results), 0),
        unequal=_differences(reference.results, record.results) + _differences(reference.cells, record.cells),
        seconds=seconds,
        facts=facts,
        complaints=tuple(wrong),
    )


def _differences(reference: Mapping[Any, Any], found: Mapping[Any, Any]) -> int:
    return sum(reference.get(key) != found.get(key) for key in reference.keys() | found.keys())
