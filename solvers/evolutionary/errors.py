"""What an evolution raises beyond ``solvers.errors``.

SolverError
├── FitnessError        the callable returned something else than one number a choice, or nothing finite
└── CheckpointError     a checkpoint that is damaged, of another format, or of another search
"""

from solvers.errors import SolverError


class FitnessError(SolverError):
    """The fitness callable returned something else than one number a choice, or nothing finite where one is needed."""


class CheckpointError(SolverError):
    """A checkpoint that is damaged, of another format, or of another search."""
