"""Measures choices on samples, each once: from memory, from the record of an earlier run, or with the callable."""

from dataclasses import dataclass, field

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.errors import FitnessError
from solvers.evolutionary.allowance import Allowance, Ending
from solvers.evolutionary.checkpoint import Record
from solvers.evolutionary.fitness import Fitness, Sample, digest
from solvers.solver import Deadline


@dataclass(slots=True)
class Judge:
    """Counts, remembers and limits what is measured.

    Attributes:
        fitness: the callable.
        allowance: what may be measured.
        deadline: nothing new is measured after it.
        record: every value that the callable gave, in order.
        evaluations: choices measured on a sample so far, those of the record included.
        units: the same times the units of their samples.
        ending: the limit that forbade a measurement.
    """

    fitness: Fitness
    allowance: Allowance
    deadline: Deadline
    record: Record
    evaluations: int = 0
    units: int = 0
    ending: Ending | None = None
    _known: dict[bytes, dict[bytes, float]] = field(default_factory=dict)

    def measure(self, choices: Integers, sample: Sample, *, always: bool = False) -> Floats | None:
        """Fitness of each choice; ``None``, and ``ending`` says why, where a limit forbids to measure.

        Args:
            choices: int64 ``[M, N]``.
            sample: what to measure on.
            always: whatever the limits say.

        Returns:
            float64 ``[M]``, ``inf`` for what was not finite.

        Raises:
            FitnessError: the callable returned something else than one number a choice.
            CheckpointError: the record is of other choices.
        """
        known = self._known.setdefault(sample.key, {})
        keys = [digest(choice) for choice in choices]
        missing = {key: m for m, key in enumerate(keys) if key not in known}
        if missing:
            fresh = choices[list(missing.values())]
            self.ending = None if always else self._forbidden(fresh.shape[0], sample.units)
            if self.ending is not None:
                return None
            known.update(zip(missing, self._obtain(fresh, sample), strict=True))
        return np.array([known[key] for key in keys])

    def knows(self, choice: Integers, sample: Sample) -> bool:
        """Whether the choice was measured on the sample."""
        return digest(choice) in self._known.get(sample.key, {})

    def _forbidden(self, count: int, units: int) -> Ending | None:
        passed = self.allowance.passed(self.evaluations + count, self.units + count * units)
        if passed is None and not self.record.replaying and self.deadline.passed():
            return Ending.DEADLINE
        return passed

    def _obtain(self, choices: Integers, sample: Sample) -> tuple[float, ...]:
        name = f"{digest(choices).hex()}/{sample.key.hex()}"
        if self.record.replaying:
            values = self.record.replay(name, choices.shape[0])
        else:
            values = self._call(choices, sample)
            self.record.add(name, values)
        self.evaluations += choices.shape[0]
        self.units += choices.shape[0] * sample.units
        return values

    def _call(self, choices: Integers, sample: Sample) -> tuple[float, ...]:
        """The callable's values; the record is saved before anything that it raises gets out."""
        choices.setflags(write=False)
        try:
            returned = _as_numbers(self.fitness(choices, sample))
            if returned.shape != (choices.shape[0],):
                msg = f"the fitness returned shape {returned.shape} for {choices.shape[0]} choices; return one number each"
                raise FitnessError(msg)
        except BaseException:
            self.record.save()
            raise
        return tuple(np.where(np.isfinite(returned), returned, np.inf).tolist())


def _as_numbers(returned: object) -> Floats:
    try:
        return np.asarray(returned, dtype=np.float64)
    except (TypeError, ValueError) as error:
        msg = f"the fitness returned {type(returned).__name__} that is no row of numbers: {error}; return one number each"
        raise FitnessError(msg) from error
