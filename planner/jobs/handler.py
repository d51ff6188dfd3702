"""The port of everything a worker can do: one handler per kind of job. No torch here; concrete handlers may use it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from planner.jobs.job import Job


@dataclass(frozen=True, slots=True)
class UnitSpec:
    """The smallest piece of a job that is done or not done.

    Attributes:
        key: unique within the job, at most 100 characters; units run and results are handed over in the order of keys.
        payload: what ``run`` needs to know besides the job, as JSON.
    """

    key: str
    payload: Mapping[str, Any]


class AbstractJobHandler(ABC):
    """What is done for one kind of job: list the units, run each, reduce all results.

    Any worker may run any unit, and a unit whose worker died is run again, so ``enumerate`` and ``run`` write nothing.
    What they or ``finish`` raise of this project's own errors (``PlannerError`` but ``StorageError``, ``SensitivityError``)
    is a fact about the input: the job fails at once with the message as its reason. Anything else is tried again, and a unit that
    still raises ends as failed, alone.
    """

    __slots__ = ()

    @abstractmethod
    def enumerate(self, job: Job) -> list[UnitSpec]:
        """All units of the job, in any order; none if there is nothing to do."""

    @abstractmethod
    def run(self, job: Job, unit: UnitSpec) -> NDArray[np.float64]:
        """The result of one unit, by the unit alone: whoever computes it gets the same."""

    @abstractmethod
    def finish(self, session: Session, job: Job, results: Sequence[tuple[str, NDArray[np.float64]]]) -> None:
        """Reduce the results, ``(key, array)`` in the order of keys, into rows.

        Units that failed (``job.failed`` of them) have no result; where nothing can be made of the others, raise.
        Runs in the transaction in which the job succeeds, so what it writes is there exactly once.
        """
