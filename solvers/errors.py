"""The error tree of this package; every message says what to do.

SolverError
├── ProblemError                 numbers that are no multiple-choice knapsack
│   └── NoAllowedItemError       a class in which every item has loss inf: no budget can help
├── UnsupportedProblemError      a sound problem that this solver does not take
├── SettingError                 a hyper-parameter or a deadline out of its range
├── FitnessError                 a fitness callable that gave something else than one number a choice, or nothing finite
├── MeasurementError             a measurement that is neither a number nor a number with its standard error
└── CheckpointError              a checkpoint of a search that is damaged, of another format, or of another search

That a problem is infeasible, that a limit stopped the search or that a solver broke its word is no error: it is a
``Status`` of the ``Solution``.
"""


class SolverError(Exception):
    """Root of everything this package raises on purpose."""


class ProblemError(SolverError):
    """Numbers that are no multiple-choice knapsack."""


class NoAllowedItemError(ProblemError):
    """A class in which every item has loss ``inf``: no budget can help."""


class UnsupportedProblemError(SolverError):
    """A sound problem that this solver does not take."""


class SettingError(SolverError):
    """A hyper-parameter or a deadline out of its range."""


class FitnessError(SolverError):
    """The fitness callable returned something else than one number a choice, or nothing finite where one is needed."""


class MeasurementError(SolverError):
    """A measurement that is neither a number nor a number with its standard error."""


class CheckpointError(SolverError):
    """A checkpoint that is damaged, of another format, or of another search."""
